"""Hooks of schemathesis: rules of valid requests that OpenAPI cannot express, and what schemathesis does not know."""

import functools
import json
import os

import requests
import schemathesis

URL, KEY = os.environ["EVENTCAST_URL"], os.environ["EVENTCAST_KEY"]
EVENTS = "/channels/{namespace}/{channel}/events"
EVENT = EVENTS + "/{cursor}"
RENEWAL = "/channels/{namespace}/{channel}/renewals/{id}"
SUBSCRIBERS = "/channels/{namespace}/{channel}/subscribers"
# Parameters of one representation of GET …/events.
STREAM = {"lastEventId", "heartbeat"}
HISTORY = {"source", "broadcast", "until", "limit", "order"}
ENVELOPE = ("topic", "type", "source", "ttl")
CLOUD_EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/fuzz", "ce-type": "fuzz"}


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    body = raw_schema["paths"][EVENTS]["post"]["requestBody"]["content"]
    del body["*/*"]  # there is nothing to generate
    lines = body["application/x-ndjson"]
    lines["schema"] = {"type": "array", "minItems": 1, "items": lines.pop("itemSchema")}
    del lines["examples"]  # text, not the array of the line above
    close(raw_schema["components"]["schemas"])


def close(node):
    """Lets no member pass that is not described. Clients must ignore those, so the document itself does not say it."""
    if isinstance(node, list):
        for child in node:
            close(child)
    elif isinstance(node, dict):
        for child in node.values():
            close(child)
        if "properties" in node and "required" in node and "then" not in node and "object" in node.get("type", ()):
            node.setdefault("additionalProperties", False)


def post(resource):
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = requests.post(f"{URL}/channels/default/demo/{resource}", headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


@functools.cache
def renewal():
    """The id of a renewal."""
    return post("tickets")["renew"].rsplit("/", 1)[1]


@schemathesis.hook
def before_call(context, case, kwargs):
    query, headers = case.query, case.headers
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if case.path == EVENTS and case.method in ("GET", "HEAD"):
        history = not HISTORY.isdisjoint(query)
        headers["Accept"] = "application/json" if history else "text/event-stream"
        if valid and history:
            for name in STREAM.intersection(query):
                del query[name]
        if not valid and "from" in query:
            # a cursor takes precedence, and then nobody looks at `from`
            query.pop("lastEventId", None)
            headers.pop("Last-Event-ID", None)
    elif case.path == EVENTS and case.method == "POST":
        attributes = [name for name in headers if name.lower().startswith("ce-")]
        if case.media_type.startswith("application/cloudevents"):
            for name in attributes:
                del headers[name]  # ignored: the attributes are in the body
        elif valid and attributes:
            for name, value in CLOUD_EVENT.items():
                headers.setdefault(name, value)
            for name in attributes:
                headers[name] = headers[name].replace("%", "x")  # values are percent-encoded
        for name in ENVELOPE:
            if valid and name in query:
                headers.pop(f"Eventcast-{name.capitalize()}", None)
    elif case.path == EVENT and case.method == "DELETE" and valid:
        case.path_parameters["cursor"] = post("events")["cursor"]
    elif case.path == RENEWAL and case.method == "POST" and valid:
        case.path_parameters["id"] = renewal()
    elif case.path == SUBSCRIBERS and case.method == "DELETE" and valid:
        if "subject" in query:
            query.pop("session", None)
        elif "session" not in query:
            query["subject"] = "nobody"
