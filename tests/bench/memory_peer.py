"""The peer of retrieval quality: a public BM25 library, in an environment and a process of its own."""

import asyncio
import json
from pathlib import Path

from peers import python_of

_REQUIREMENTS = ("bm25s>=0.2", "PyStemmer>=2.2")
_CAP_S = 300.0


async def bm25_figures(collection: str) -> dict[str, float] | None:
    """ndcg (at 10) and recall (at 100) of it on a collection; None, with a line that says so, when it cannot be installed."""
    python = python_of("bm25s", _REQUIREMENTS)
    if python is None:
        return None
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(python, Path(__file__).with_name("peer_bm25.py"), stdin=pipe, stdout=pipe)
    async with asyncio.timeout(_CAP_S):
        out, _ = await process.communicate(collection.encode())
    if process.returncode != 0:
        print("bm25s failed; measured without it")
        return None
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures
