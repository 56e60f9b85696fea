"""aiohttp-sse-client2 comes back after a clean end only; after a cut, or without a server, the loop below does."""

import asyncio
import logging
from datetime import timedelta

import aiohttp
from aiohttp_sse_client2.client import EventSource
from contract import URL, Position, closed, emit, emit_error, emit_event

logging.disable()


async def read(position):
    async with EventSource(
        URL,
        headers=position.headers(),
        reconnection_time=timedelta(seconds=1),  # until the server says otherwise; 5 s by default
        timeout=aiohttp.ClientTimeout(total=None),
        on_open=lambda: emit({"open": True}),
    ) as source:
        async for event in source:
            position.last_event_id = event.last_event_id
            emit_event(event.last_event_id, event.type, event.data)


async def main():
    position = Position()
    while True:
        try:
            await read(position)
        except ConnectionError as error:  # an answer that is not a stream
            emit_error(error)
            closed()
        except (aiohttp.ClientError, ValueError) as error:
            emit_error(error)
        await asyncio.sleep(position.retry / 1000)


asyncio.run(main())
