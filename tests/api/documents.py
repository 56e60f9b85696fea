"""Validates docs/openapi.yaml and docs/asyncapi.yaml, and the examples in them and in the documents beside them.

Prints what is wrong, a line for each fault, and exits with 1 if there is any.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import jsonschema_rs
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator, OpenAPIV32SpecValidator

API = Path(__file__).resolve().parent
DOCS = API.parent.parent / "docs"
# A base for references between the two documents. Nothing is fetched.
BASE = "https://eventcast.invalid/"

# The schema of each block of JSON, by the heading above it.
JSON_BLOCKS = {
    ("HTTP.md", "History"): "History",
    ("HTTP.md", "Statistics"): "Statistics",
    ("HTTP.md", "The channel"): "Channel",
    ("ACCESS.md", "Access: who may subscribe, publish and manage"): "Access",
}

faults = []


def fault(place, what):
    faults.append(f"{place}: {what}")


def read(name):
    return yaml.safe_load((DOCS / name).read_text())


openapi, asyncapi = read("openapi.yaml"), read("asyncapi.yaml")
documents = {"openapi.yaml": openapi, "asyncapi.yaml": asyncapi}
registry = jsonschema_rs.Registry(
    [(BASE + name, document) for name, document in documents.items()],
    draft=jsonschema_rs.Draft202012,
)


def check(place, value, pointer, document="openapi.yaml"):
    """Validates a value against the schema at a JSON pointer."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": BASE + document + "#" + quote(pointer, safe="/~")}
    validator = jsonschema_rs.Draft202012Validator(schema, registry=registry, validate_formats=True)
    for error in validator.iter_errors(value):
        fault(place, f"{error.message} at {error.instance_path}")


def check_component(place, value, name):
    check(place, value, f"/components/schemas/{name}")


def resolve(node):
    while isinstance(node, dict) and node.get("$ref", "").startswith("#/"):
        target = openapi
        for part in node["$ref"][2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def events(text):
    """The blocks of a stream that have data."""
    for block in text.split("\n\n"):
        event = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            if name == "data" and "data" in event:
                event["data"] += "\n" + value
            elif name == "retry":
                event["retry"] = int(value)
            elif name in ("event", "data", "id"):
                event[name] = value
        if "data" in event:
            yield event


control_events = {}
for choice in openapi["components"]["schemas"]["StreamEvent"]["oneOf"]:
    properties = resolve(choice)["properties"]
    if "const" in properties["event"]:
        control_events[properties["event"]["const"]] = properties["data"]["contentSchema"]["$ref"][1:]


def check_event(place, event):
    """Validates an event, and the JSON in the data of a control event, which validators take for text."""
    check_component(place, event, "StreamEvent")
    if event.get("event") in control_events:
        check(place, json.loads(event["data"]), control_events[event["event"]])


def check_examples(node, pointer):
    """Validates the examples of media types and parameters."""
    if isinstance(node, list):
        for i, child in enumerate(node):
            check_examples(child, f"{pointer}/{i}")
    if not isinstance(node, dict):
        return
    values = [example["value"] for example in node.get("examples", {}).values()] if "examples" in node else []
    if "example" in node and ("schema" in node or "itemSchema" in node):
        values.append(node["example"])
    for value in values:
        if "schema" in node:
            check(pointer, value, f"{pointer}/schema")
        elif pointer.endswith("/text~1event-stream"):
            found = list(events(value))
            if not found:
                fault(pointer, "an example without an event")
            for event in found:
                check_event(pointer, event)
        else:
            for line in value.splitlines():
                check(pointer, json.loads(line), f"{pointer}/itemSchema")
    for name, child in node.items():
        if name not in ("example", "examples"):
            check_examples(child, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")


def check_openapi():
    for error in OpenAPIV32SpecValidator(openapi).iter_errors():
        fault("openapi.yaml", str(error)[:500])
    check_examples(openapi, "")
    operations = [o for path in openapi["paths"].values() for m, o in path.items() if m not in ("parameters", "servers")]
    names = [operation["operationId"] for operation in operations]
    for name in {name for name in names if names.count(name) > 1}:
        fault("openapi.yaml", f"operationId {name} twice")


def check_older_rendition():
    """HTTP.md tells generators how to make OpenAPI 3.1 of it."""
    commands = re.findall(r"^sed .*openapi\.yaml.*$", (DOCS / "HTTP.md").read_text(), re.MULTILINE)
    if len(commands) != 1:
        return fault("HTTP.md", f"{len(commands)} commands that make OpenAPI 3.1")
    command = commands[0].split(">")[0]
    made = subprocess.run(command, shell=True, cwd=DOCS, check=True, capture_output=True, text=True).stdout
    older = yaml.safe_load(made)
    for error in OpenAPIV31SpecValidator(older).iter_errors():
        fault("OpenAPI 3.1", str(error)[:500])
    stream = older["paths"]["/channels/{namespace}/{channel}/events"]["get"]["responses"]["200"]
    if stream["content"]["text/event-stream"].get("schema") != {"$ref": "#/components/schemas/StreamEvent"}:
        fault("OpenAPI 3.1", "the events of streams have no schema")


def check_asyncapi():
    schema = json.loads((API / "node_modules/@asyncapi/specs/schemas/3.0.0.json").read_text())
    for error in jsonschema_rs.Draft7Validator(schema).iter_errors(asyncapi):
        fault("asyncapi.yaml", f"{error.message[:500]} at {error.instance_path}")
    check_references(asyncapi, "asyncapi.yaml")
    check_references(openapi, "openapi.yaml")
    for name, message in asyncapi["components"]["messages"].items():
        pointer = f"/components/messages/{name}"
        if not message.get("examples"):
            fault(pointer, "no example")
        for example in message.get("examples", []):
            for part in ("headers", "payload"):
                if part in example:
                    check(pointer, example[part], f"{pointer}/{part}", "asyncapi.yaml")
            if "event" in example["payload"]:
                check_event(pointer, example["payload"])
    sent = {resolve_in(asyncapi, m["$ref"])["payload"]["$ref"].rsplit("/", 1)[1] for m in asyncapi["channels"]["stream"]["messages"].values()}
    described = {choice["$ref"].rsplit("/", 1)[1] for choice in openapi["components"]["schemas"]["StreamEvent"]["oneOf"]}
    if sent != described:
        fault("asyncapi.yaml", f"other events of streams than openapi.yaml: {sent ^ described}")


def resolve_in(document, reference):
    for part in reference.partition("#/")[2].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def check_references(node, name):
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        check_references(child, name)
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        document = node["$ref"].partition("#")[0] or name
        try:
            resolve_in(documents[document], node["$ref"])
        except (KeyError, TypeError):
            fault(name, f"{node['$ref']} leads nowhere")


def blocks(text):
    """The fenced blocks of a document: heading, language, text."""
    heading, language, block = "", None, []
    for line in text.splitlines():
        if line.startswith("```"):
            if language is None:
                language, block = line[3:], []
            else:
                yield heading, language, "\n".join(block) + "\n"
                language = None
        elif language is not None:
            block.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def check_prose():
    found = set()
    for name in ("HTTP.md", "ACCESS.md"):
        text = (DOCS / name).read_text()
        for heading, language, block in blocks(text):
            place = f"{name}, {heading}"
            if language == "json":
                found.add((name, heading))
                if (name, heading) in JSON_BLOCKS:
                    check_component(place, json.loads(block), JSON_BLOCKS[name, heading])
            if language == "":
                for event in events(block):
                    event.setdefault("event", "message")
                    check_event(place, event)
        for status, problem in re.findall(r"\b([45]\d\d) `([a-z-]+)`", text):
            check_problem(name, int(status), problem)
    if found != set(JSON_BLOCKS):
        fault("blocks of JSON", f"not as listed here: {found ^ set(JSON_BLOCKS)}")


def check_problem(place, status, problem):
    for response in openapi["components"]["responses"].values():
        schema = response.get("content", {}).get("application/problem+json", {}).get("schema", {}).get("properties", {})
        if schema and schema["status"]["const"] == status and f"urn:eventcast:problem:{problem}" in schema["type"]["enum"]:
            return
    fault(place, f"{status} {problem} is not in openapi.yaml")


def check_tables():
    text = (DOCS / "HTTP.md").read_text()
    rows = re.findall(r"^\| `(eventcast\.[a-z]+)` \| `\{(.*?)\}`", text, re.MULTILINE)
    table = {event: set(re.findall(r'"(\w+)"', members)) for event, members in rows}
    described = {event: set(resolve({"$ref": "#" + pointer})["properties"]) for event, pointer in control_events.items()}
    if table != described:
        fault("HTTP.md, Control events", f"{table} is not {described}")
    row = re.search(r"^\| headers, all optional \|(.*)\|$", text, re.MULTILINE)
    headers = set(re.findall(r"`([A-Za-z-]+)`", row[1])) if row else set()
    if headers != set(asyncapi["components"]["schemas"]["EventHeaders"]["properties"]):
        fault("HTTP.md, Directly to NATS", f"the headers {headers} are not those of asyncapi.yaml")
    for name in ("broadcast", "topic"):
        address = re.sub(r"\{(\w+)\}", r"<\1>", asyncapi["channels"][name]["address"])
        if f"`{address}`" not in text:
            fault("HTTP.md, Directly to NATS", f"no subject {address}")


for part in (check_openapi, check_older_rendition, check_asyncapi, check_prose, check_tables):
    part()
print("\n".join(faults))
sys.exit(bool(faults))
