"""Stands for a language model: gives an answer word by word, with pauses."""

import asyncio
import pathlib
import re
from collections.abc import AsyncIterator

ANSWER = (pathlib.Path(__file__).parent / "answer.txt").read_text()


async def generate(question: str) -> AsyncIterator[str]:
    for token in re.findall(r"\s*\S+|\s+$", f"You asked: {question}\n\n{ANSWER}"):
        await asyncio.sleep(0.06)
        yield token
