"""Signs JSON Web Tokens (HS256) with the key that `eventcast-broker dev` has made. In production your identity provider signs them."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import time

KEY_FILE = pathlib.Path(os.environ.get("EVENTCAST_DATA_DIR", ".data")) / "token-keys.json"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(subject: str, seconds: int, **claims) -> str:
    key = json.loads(KEY_FILE.read_text())["keys"][0]
    secret = base64.urlsafe_b64decode(key["k"] + "==")
    now = int(time.time())
    header = {"alg": "HS256", "typ": "JWT", "kid": key["kid"]}
    payload = {"iss": "development", "aud": "development", "sub": subject, "iat": now, "exp": now + seconds, **claims}
    message = ".".join(encode(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.digest(secret, message.encode(), hashlib.sha256)
    return f"{message}.{encode(signature)}"


def for_user(user: str) -> str:
    """Lets a page read what is for its user, and what is for everyone. Short: the page asks for the next one by itself."""
    return sign(user, 300)


def for_application() -> str:
    """Lets the application publish to everyone and end the streams of a user. It never leaves the server."""
    return sign("notifications", 60, role="admin", grants={"publish": ["user.>"], "broadcast": True})
