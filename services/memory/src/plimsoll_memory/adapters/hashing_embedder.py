"""The default embedder: the hashing space, off the event loop."""

import asyncio
from collections.abc import Sequence

from plimsoll_memory.domain.document import Vector
from plimsoll_memory.domain.hashing import NAME, HashingSpace


class HashingEmbedder:
    """Needs no download and no network.

    The floor is four times the similarity that two unrelated texts have by chance. The weight is low because words that full text
    search matches exactly say more than parts of words; it is the best of a trial on a public test collection.
    """

    name = NAME
    floor = 0.2
    weight = 0.25

    def __init__(self) -> None:
        self._space = HashingSpace()

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        """In a thread: a batch takes tens of milliseconds."""
        return await asyncio.to_thread(self._embed_all, texts)

    async def embed_query(self, text: str) -> Vector:
        """At once: a query takes a fraction of a millisecond."""
        return self._space.embed(text)

    def _embed_all(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [self._space.embed(text) for text in texts]
