"""requests-sse reconnects by itself, after twice the `retry:` time; it raises where it gives up."""

from datetime import timedelta

import requests
from contract import LAST_EVENT_ID, URL, closed, emit, emit_error, emit_event
from requests_sse import EventSource

try:
    with EventSource(
        URL,
        reconnection_time=timedelta(seconds=1),  # until the server says otherwise; 5 s by default
        latest_event_id=LAST_EVENT_ID or None,
        on_open=lambda: emit({"open": True}),
        on_error=lambda: emit_error("the stream ended, or there was none"),
    ) as source:
        for event in source:
            emit_event(event.last_event_id, event.type, event.data)
except requests.RequestException as error:
    emit_error(error)
closed()
