"""sseclient-py parses a response; connecting and reconnecting are its user's."""

import requests
from contract import URL, check_status, emit_event, read_for_ever
from sseclient import SSEClient


def read(position):
    headers = {"Accept": "text/event-stream", **position.headers()}
    response = requests.get(URL, stream=True, headers=headers, timeout=(10, None))
    check_status(response.status_code)
    for event in SSEClient(response).events():
        position.last_event_id = event.id or position.last_event_id
        if event.retry:
            position.retry = int(event.retry)
        emit_event(event.id, event.event, event.data)


read_for_ever(read)
