"""The fault point before every embedder, the built-in one too."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from plimsoll_runtime.errors import Internal
from plimsoll_runtime.faults import Edge, garbled, through

from plimsoll_memory.adapters.router_embedder import EmbedderAway
from plimsoll_memory.adapters.vectors import EmbedderDiffers
from plimsoll_memory.domain.document import Vector
from plimsoll_memory.ports import Embedder

T = TypeVar("T")


class FaultyEmbedder:
    """An Embedder whose calls meet faults; the operation is its name."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.floor = embedder.floor
        self.weight = embedder.weight
        self._embedder = embedder

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        """As the embedder does; of a fault raises what a real one would."""
        return await self._through(lambda: self._embedder.embed_passages(texts))

    async def embed_query(self, text: str) -> Vector:
        """As the embedder does; of a fault raises what a real one would."""
        return await self._through(lambda: self._embedder.embed_query(text))

    async def _through(self, act: Callable[[], Awaitable[T]]) -> T:
        try:
            return await through(Edge.EMBEDDER, self.name, act, away=self._away)
        except Internal as error:
            if error.reason != garbled().reason:
                raise
            raise EmbedderDiffers(f"{self.name} gave no vectors (a fault on demand)") from error

    def _away(self) -> Exception:
        return EmbedderAway(f"{self.name} did not answer (a fault on demand)", retry_after_s=1.0)
