package main

import (
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

// The library comes back after a cut, obeying `retry:`; after a clean end it returns without an error.
func tmaxmax(url, lastEventID string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		emitError(err)
		return
	}
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	client := sse.Client{
		OnRetry: func(err error, _ time.Duration) { emitError(err) },
		ResponseValidator: func(response *http.Response) error {
			err := sse.DefaultValidator(response)
			if err == nil {
				emitOpen()
			}
			return err
		},
	}
	connection := client.NewConnection(request)
	connection.Buffer(nil, 1<<20) // by default it fails on events of 64 KiB, for ever
	connection.SubscribeToAll(func(event sse.Event) { emitEvent(event.LastEventID, event.Type, event.Data) })
	for {
		if err := connection.Connect(); err != nil {
			emitError(err)
			return
		}
		time.Sleep(time.Second)
	}
}
