"""The database of the shop. What is to be told of a change stands in the outbox, written in the same transaction."""

import json
import os
import pathlib
import sqlite3
import uuid

FILE = pathlib.Path(os.environ.get("EVENTCAST_DATA_DIR", ".data")) / "shop.db"
TABLES = """
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which it is published
  id TEXT NOT NULL UNIQUE,                   -- of the message: what is published twice is stored once
  topic TEXT NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL
);
"""


def connect() -> sqlite3.Connection:
    database = sqlite3.connect(FILE)
    database.execute("PRAGMA journal_mode = WAL")  # the shop writes while the relay reads
    database.executescript(TABLES)
    return database


def place_order(database: sqlite3.Connection, item: str) -> int:
    with database:  # one transaction: the order and its event, or neither
        order = database.execute("INSERT INTO orders (item) VALUES (?)", (item,)).lastrowid
        event = (str(uuid.uuid4()), "orders", "order.placed", json.dumps({"order": order, "item": item}))
        database.execute("INSERT INTO outbox (id, topic, type, data) VALUES (?, ?, ?, ?)", event)
    return order
