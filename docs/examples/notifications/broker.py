"""What the application asks of the broker: store an event for a user or for everyone, and disconnect a user."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import tokens

EVENTS_URL = os.environ.get("EVENTS_URL", "http://127.0.0.1:8080/channels/default/demo/events")
ATTEMPTS = 6


def segment(text: str) -> str:
    """A user id as one segment of a topic, as the broker writes `{sub}`: a dot would begin another segment."""
    return text.replace("%", "%25").replace(".", "%2E")


def ask(method: str, url: str, body: bytes | None = None, **headers: str) -> None:
    """Asks until the broker has answered. A refusal is an error at once: asking again changes nothing."""
    for attempt in range(ATTEMPTS):
        headers["Authorization"] = f"Bearer {tokens.for_application()}"
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=10).close()
            return
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 500:
                raise
        except OSError:
            pass
        time.sleep(2**attempt / 4)
    raise TimeoutError(f"no answer from {url}")


def notify(user: str | None, kind: str, data: object) -> None:
    """Stores an event once, however often it has to be sent. Without a user it reaches everyone."""
    query = {"type": kind} | ({"topic": f"user.{segment(user)}"} if user else {})
    body = json.dumps(data).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    ask("POST", f"{EVENTS_URL}?{urllib.parse.urlencode(query)}", body, **headers)


def disconnect(user: str) -> None:
    """Ends all streams of a user, on all brokers. Tokens that were signed before are refused from now on."""
    channel = EVENTS_URL.removesuffix("/events")
    ask("DELETE", f"{channel}/subscribers?{urllib.parse.urlencode({'subject': user})}")
