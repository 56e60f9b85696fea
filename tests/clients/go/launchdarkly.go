package main

import (
	"errors"

	"github.com/launchdarkly/eventsource"
)

func launchdarkly(url, lastEventID string) {
	stream, err := eventsource.SubscribeWithURL(url,
		eventsource.StreamOptionLastEventID(lastEventID),
		eventsource.StreamOptionCanRetryFirstConnection(-1),
		eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
			emitError(err)
			var refused eventsource.SubscriptionError
			return eventsource.StreamErrorHandlerResult{CloseNow: errors.As(err, &refused) && isFinal(refused.Code)}
		}))
	if err != nil {
		return
	}
	for event := range stream.Events {
		emitEvent(event.Id(), event.Event(), event.Data())
	}
}
