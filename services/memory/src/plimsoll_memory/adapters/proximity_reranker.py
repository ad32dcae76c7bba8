"""The default reranker, off the event loop: it needs no download and some milliseconds."""

import asyncio
from collections.abc import Sequence

from plimsoll_memory.domain.proximity import NAME, judge


class ProximityReranker:
    """A Reranker by words alone."""

    name = NAME

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return await asyncio.to_thread(judge, query, texts)
