"""The client of LaunchDarkly reconnects by itself; what is final is for its user to say."""

from contract import LAST_EVENT_ID, URL, closed, emit, emit_error, emit_event
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault, Start
from ld_eventsource.config import ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPStatusError


def is_final(error):
    return isinstance(error, HTTPStatusError) and (error.status == 204 or 400 <= error.status < 500)


client = SSEClient(
    URL,
    last_event_id=LAST_EVENT_ID or None,
    error_strategy=ErrorStrategy.always_continue(),
    # By default the delay doubles with every reconnect within a minute, even after good connections.
    retry_delay_strategy=RetryDelayStrategy.default(backoff_multiplier=1, jitter_multiplier=None),
)
for action in client.all:
    if isinstance(action, Start):
        emit({"open": True})
    elif isinstance(action, Event):
        emit_event(action.last_event_id, action.event, action.data)
    elif isinstance(action, Fault):
        emit_error(action.error or "the stream ended")
        if is_final(action.error):
            break
closed()
