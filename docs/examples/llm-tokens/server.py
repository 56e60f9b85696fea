"""An application with a language model. It publishes the words as they come; pages read them from the broker, now or later."""

import asyncio
import json
import os
import pathlib
import uuid
from urllib.parse import urlsplit

import httpx
import model
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

EVENTS_URL = os.environ.get("EVENTS_URL", "http://127.0.0.1:8080/channels/default/demo/events")
HERE = pathlib.Path(__file__).parent
BATCH_SECONDS = 0.05  # models are faster than eyes
RETRY_SECONDS = 0.5
KEPT = "1h"  # for how long an answer can be read again; the finished one belongs into your database

app = FastAPI()
broker = httpx.AsyncClient(timeout=10)
running: dict[str, asyncio.Event] = {}  # answer -> set when it is to stop
tasks: set[asyncio.Task] = set()  # asyncio keeps no reference of its own


async def publish(answer: str, number: int, kind: str, data: object) -> None:
    """Stores an event once: with the same key it may be sent again until the broker has answered."""
    query = {"topic": f"answer.{answer}", "type": kind, "ttl": KEPT}
    # JSON, because a word may be a line end or begin with a space
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"{answer}-{number}"}
    while True:
        try:
            response = await broker.post(EVENTS_URL, params=query, headers=headers, content=json.dumps(data))
            if response.status_code < 500 and response.status_code != 429:
                response.raise_for_status()
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(RETRY_SECONDS)


async def write(answer: str, question: str) -> None:
    """Publishes the words of an answer, and an event that says how it ended."""
    loop, stop = asyncio.get_running_loop(), running[answer]
    number, text, since = 0, "", loop.time()
    end = "failed"
    try:
        async for token in model.generate(question):
            text += token
            if loop.time() - since >= BATCH_SECONDS:
                await publish(answer, number, "token", text)
                number, text, since = number + 1, "", loop.time()
            if stop.is_set():
                break
        end = "stopped" if stop.is_set() else "complete"
    finally:
        del running[answer]
        if text:
            await publish(answer, number, "token", text)
        await publish(answer, number + 1, "end", end)


class Question(BaseModel):
    text: str = Field(min_length=1, max_length=500)


@app.post("/answers", status_code=201)
async def ask(question: Question) -> dict:
    answer = uuid.uuid4().hex  # cannot be guessed: whoever knows it may read the answer
    running[answer] = asyncio.Event()
    task = asyncio.create_task(write(answer, question.text))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return {"answer": answer}


@app.post("/answers/{answer}/stop", status_code=202)
async def stop(answer: str) -> None:
    if answer not in running:
        raise HTTPException(404)
    running[answer].set()


@app.get("/config.json")
async def config() -> dict:
    return {"events": EVENTS_URL}


@app.middleware("http")
async def protect(request, call_next):
    response = await call_next(request)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(EVENTS_URL))
    response.headers["Content-Security-Policy"] = f"default-src 'self'; connect-src 'self' {origin}; frame-ancestors 'none'"
    return response


# `npm install @eventcast/client`, or a copy
app.mount("/client", StaticFiles(directory=HERE / "../../../broker/clients/js"))
app.add_api_route("/style.css", lambda: FileResponse(HERE / "../style.css"))
app.add_api_route("/answers.js", lambda: FileResponse(HERE / "answers.js"))
app.add_api_route("/", lambda: FileResponse(HERE / "index.html"))

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", 8081)), log_level="warning")
