"""The shop: takes orders and shows those of which the broker has told. It publishes nothing itself."""

import json
import os
import pathlib
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import database

EVENTS_URL = os.environ.get("EVENTS_URL", "http://127.0.0.1:8080/channels/default/demo/events")
HERE = pathlib.Path(__file__).parent
CLIENT = HERE / "../../../broker/clients/js"  # `npm install @eventcast/client`, or a copy
FILES = {
    "/": (HERE / "index.html", "text/html"),
    "/shop.js": (HERE / "shop.js", "text/javascript"),
    "/style.css": (HERE / "../style.css", "text/css"),
} | {f"/client/{file.name}": (file, "text/javascript") for file in CLIENT.glob("*.js")}
POLICY = "default-src 'self'; connect-src 'self' {0.scheme}://{0.netloc}; frame-ancestors 'none'".format(urlsplit(EVENTS_URL))


class Handler(BaseHTTPRequestHandler):
    timeout = 30  # seconds: a client that sends nothing does not keep a thread

    def do_GET(self):
        if self.path == "/config.json":
            self.answer(HTTPStatus.OK, {"events": EVENTS_URL})
        elif self.path == "/outbox":
            with closing(database.connect()) as shop:
                self.answer(HTTPStatus.OK, {"waiting": shop.execute("SELECT count(*) FROM outbox").fetchone()[0]})
        elif self.path in FILES:
            file, kind = FILES[self.path]
            self.send(HTTPStatus.OK, file.read_bytes(), {"Content-Type": f"{kind}; charset=utf-8", "Content-Security-Policy": POLICY})
        else:
            self.send(HTTPStatus.NOT_FOUND)

    def do_POST(self):
        # A form of another site cannot have this type without asking first, and nobody answers it.
        if self.path != "/orders" or self.headers["Content-Type"] != "application/json":
            return self.send(HTTPStatus.BAD_REQUEST)
        try:
            length = int(self.headers["Content-Length"])
            item = json.loads(self.rfile.read(length))["item"] if 0 < length <= 10_000 else None
        except (KeyError, TypeError, ValueError):
            item = None
        if not isinstance(item, str) or not 0 < len(item) <= 100:
            return self.send(HTTPStatus.BAD_REQUEST)
        with closing(database.connect()) as shop:
            self.answer(HTTPStatus.CREATED, {"order": database.place_order(shop, item)})

    def answer(self, status, data):
        self.send(status, json.dumps(data).encode(), {"Content-Type": "application/json", "Cache-Control": "no-store"})

    def send(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8081))), Handler).serve_forever()
