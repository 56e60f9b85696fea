package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// The library comes back after a cut or any status, in its own time; after a clean end it returns, and `retry:` is for
// its user to obey.
func r3labs(url, lastEventID string) {
	retry := time.Second
	client := sse.NewClient(url, sse.ClientMaxBufferSize(1<<20)) // by default it fails on events of 64 KiB, for ever
	client.ReconnectStrategy = backoff.NewConstantBackOff(retry) // by default the delay grows with every cut
	client.ReconnectNotify = func(err error, _ time.Duration) { emitError(err) }
	client.ResponseValidator = func(_ *sse.Client, response *http.Response) error {
		if response.StatusCode != http.StatusOK {
			response.Body.Close()
			return fmt.Errorf("status %d", response.StatusCode)
		}
		emitOpen()
		return nil
	}
	if lastEventID != "" {
		client.LastEventID.Store([]byte(lastEventID))
	}
	for {
		err := client.SubscribeRaw(func(event *sse.Event) {
			if milliseconds, err := strconv.Atoi(string(event.Retry)); err == nil {
				retry = time.Duration(milliseconds) * time.Millisecond
			}
			if event.Data == nil {
				return // a comment before the end of the stream, which the library takes for an event
			}
			emitEvent(string(event.ID), string(event.Event), string(event.Data))
		})
		if err != nil {
			emitError(err)
			return
		}
		time.Sleep(retry)
	}
}
