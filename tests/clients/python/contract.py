"""What the adapters for Python share: the arguments, the lines on stdout, and how an adapter ends. See ../README.md."""

import json
import os
import sys
import threading
import time

if len(sys.argv) < 2:
    sys.exit("usage: <adapter> URL [LAST_EVENT_ID]")
URL = sys.argv[1]
LAST_EVENT_ID = sys.argv[2] if len(sys.argv) > 2 else ""


def emit(line):
    print(json.dumps(line), flush=True)


def emit_event(event_id, event_type, data):
    emit({"id": event_id or "", "type": event_type or "message", "data": data})


def emit_error(error):
    emit({"error": str(error) or type(error).__name__})


def closed():
    """The client has given up for good."""
    emit({"closed": True})
    sys.exit(0)


class Final(Exception):
    """An answer after which an EventSource would not come back."""


def check_status(status):
    if status == 204 or 400 <= status < 500:
        raise Final(f"status {status}")
    if status != 200:
        raise OSError(f"status {status}")
    emit({"open": True})


class Position:
    """Where a loop of ours comes back to, and when: for libraries that do not reconnect."""

    def __init__(self):
        self.last_event_id = LAST_EVENT_ID
        self.retry = 1000

    def headers(self):
        return {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}

    def wait(self):
        time.sleep(min(max(self.retry, 100), 30_000) / 1000)


def read_for_ever(read):
    """Calls `read(position)` again whenever it returns or fails."""
    position = Position()
    while True:
        try:
            read(position)
        except Final as final:
            emit_error(final)
            closed()
        except Exception as error:  # each library has its own
            emit_error(error)
        position.wait()


def _end_with_parent(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


# An adapter must not outlive the test that started it.
threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
