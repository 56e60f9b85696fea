"""The relay: publishes what stands in the outbox straight to NATS, and then deletes it.

It may die between the two. The next one publishes the same rows again, with the same message ids, and JetStream stores them once
(within `retention.duplicateWindowSeconds`, two minutes). Run one relay at a time, so that events keep their order.
"""

import asyncio
import os

import nats
from nats.errors import Error as NatsError

import database

SUBJECT = "sse.default.demo.t."  # sse.<namespace>.<channel>.t.<topic>
BATCH = 100
POLL_SECONDS = 0.2  # with PostgreSQL: LISTEN, and a poll now and then
RETRY_SECONDS = 1


async def relay(stream, shop) -> bool:
    """Publishes the oldest events; says whether there were any."""
    rows = shop.execute("SELECT number, id, topic, type, data FROM outbox ORDER BY number LIMIT ?", (BATCH,)).fetchall()
    for number, message_id, topic, kind, data in rows:
        headers = {"Nats-Msg-Id": message_id, "Eventcast-Type": kind, "Eventcast-Source": "/shop"}
        # Returns when JetStream has stored the event, or has found that it had stored it before.
        stored = await stream.publish(SUBJECT + topic, data.encode(), headers=headers, timeout=5)
        if stored.duplicate:
            print(f"{message_id} was stored already", flush=True)
        with shop:
            shop.execute("DELETE FROM outbox WHERE number = ?", (number,))
    return bool(rows)


async def main() -> None:
    connection = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    stream, shop = connection.jetstream(), database.connect()
    while True:
        try:
            if not await relay(stream, shop):
                await asyncio.sleep(POLL_SECONDS)
        except (NatsError, TimeoutError) as error:
            print(f"not stored, will try again: {error!r}", flush=True)
            await asyncio.sleep(RETRY_SECONDS)


asyncio.run(main())
