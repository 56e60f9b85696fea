package main

import (
	"errors"
	"time"

	"github.com/donovanhide/eventsource"
)

// The library fails on the first connection and retries every later one for ever, whatever the status.
func donovanhide(url, lastEventID string) {
	stream, err := eventsource.Subscribe(url, lastEventID)
	for err != nil {
		emitError(err)
		var refused eventsource.SubscriptionError
		if errors.As(err, &refused) && isFinal(refused.Code) {
			return
		}
		time.Sleep(time.Second)
		stream, err = eventsource.Subscribe(url, lastEventID)
	}
	for {
		select {
		case event := <-stream.Events:
			emitEvent(event.Id(), event.Event(), event.Data())
		case err := <-stream.Errors:
			emitError(err)
		}
	}
}
