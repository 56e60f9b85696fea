"""httpx-sse leaves reconnecting to its user."""

import httpx
from contract import URL, check_status, emit_event, read_for_ever
from httpx_sse import connect_sse

client = httpx.Client(timeout=httpx.Timeout(10, read=None))


def read(position):
    with connect_sse(client, "GET", URL, headers=position.headers()) as source:
        check_status(source.response.status_code)
        for event in source.iter_sse():
            position.last_event_id = event.id
            if event.retry is not None:
                position.retry = event.retry
            emit_event(event.id, event.event, event.data)


read_for_ever(read)
