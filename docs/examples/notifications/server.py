"""Notifications with a login: sessions in cookies, short tokens for the stream, and a logout that ends it. Only the standard library."""

import hmac
import json
import os
import pathlib
import secrets
import threading
import time
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import broker
import tokens

HERE = pathlib.Path(__file__).parent
CLIENT = HERE / "../../../broker/clients/js"  # `npm install @eventcast/client`, or a copy
FILES = {
    "/": (HERE / "index.html", "text/html"),
    "/notifications.js": (HERE / "notifications.js", "text/javascript"),
    "/style.css": (HERE / "../style.css", "text/css"),
} | {f"/client/{file.name}": (file, "text/javascript") for file in CLIENT.glob("*.js")}
BROKER = "{0.scheme}://{0.netloc}".format(urlsplit(broker.EVENTS_URL))
POLICY = f"default-src 'self'; connect-src 'self' {BROKER}; frame-ancestors 'none'"

PASSWORDS = {"ann": "ann", "bob": "bob"}  # an example; yours are hashed, or with an identity provider
sessions: dict[str, str] = {}  # id -> user
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    timeout = 30  # seconds: a client that sends nothing does not keep a thread

    def do_GET(self):
        if self.path == "/session":
            self.answer({"user": self.user(), "events": broker.EVENTS_URL})
        elif self.path in FILES:
            file, kind = FILES[self.path]
            self.send(HTTPStatus.OK, file.read_bytes(), {"Content-Type": f"{kind}; charset=utf-8", "Content-Security-Policy": POLICY})
        else:
            self.send(HTTPStatus.NOT_FOUND)

    def do_POST(self):
        actions = {"/login": self.login, "/logout": self.logout, "/token": self.token, "/notifications": self.notify}
        action = actions.get(self.path)
        # A form of another site cannot have this type without asking first, and nobody answers it.
        if action is None or self.headers["Content-Type"] != "application/json":
            return self.send(HTTPStatus.BAD_REQUEST)
        try:
            length = int(self.headers["Content-Length"])
            if not 0 < length <= 10_000:
                return self.send(HTTPStatus.BAD_REQUEST)
            body = json.loads(self.rfile.read(length))
            action(body if isinstance(body, dict) else {})
        except (TypeError, ValueError):
            self.send(HTTPStatus.BAD_REQUEST)
        except OSError as error:
            self.log_error("%s", error)
            self.send(HTTPStatus.SERVICE_UNAVAILABLE)

    def login(self, body):
        user, password = str(body.get("user")), str(body.get("password"))
        if not hmac.compare_digest(PASSWORDS.get(user, secrets.token_hex()).encode(), password.encode()):
            return self.send(HTTPStatus.UNAUTHORIZED)
        session = secrets.token_urlsafe()
        with lock:
            sessions[session] = user
        # Scripts cannot read it, and other sites cannot send it. With HTTPS: Secure, too.
        self.answer({"user": user}, cookie=f"session={session}; HttpOnly; SameSite=Strict; Path=/")

    def logout(self, _):
        user = self.user()
        if user is None:
            return self.send(HTTPStatus.UNAUTHORIZED)
        with lock:
            for session in [id for id, owner in sessions.items() if owner == user]:
                del sessions[session]
        # In this order: whoever asks for a token now gets none, and the streams with an old one end.
        broker.disconnect(user)
        # Tokens are dated in seconds. Those of the next login are of a later one.
        time.sleep(1 - time.time() % 1)
        self.answer({}, cookie="session=; Max-Age=0; Path=/")

    def token(self, _):
        user = self.user()
        if user is None:
            return self.send(HTTPStatus.UNAUTHORIZED)
        self.answer({"token": tokens.for_user(user)})

    def notify(self, body):
        sender, to, text = self.user(), body.get("to"), body.get("text")
        if sender is None:
            return self.send(HTTPStatus.UNAUTHORIZED)
        if to not in (None, *PASSWORDS) or not isinstance(text, str) or not 0 < len(text) <= 500:
            return self.send(HTTPStatus.BAD_REQUEST)
        broker.notify(to, "notification", {"from": sender, "text": text, "all": to is None})
        self.answer({})

    def user(self):
        try:
            cookie = SimpleCookie(self.headers["Cookie"]).get("session")
        except CookieError:
            return None
        with lock:
            return sessions.get(cookie.value) if cookie else None

    def answer(self, data, cookie=None):
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        self.send(HTTPStatus.OK, json.dumps(data).encode(), headers | ({"Set-Cookie": cookie} if cookie else {}))

    def send(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8081))), Handler).serve_forever()
