"""Sentence transformers and cross-encoders on this machine: an optional extra, loaded when it is first used.

Install it with `pip install plimsoll-memory[transformers]`; the weights are fetched, or read from a folder, by that library.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from plimsoll_runtime.errors import PlimsollError, Unavailable

from plimsoll_memory.adapters.vectors import checked
from plimsoll_memory.domain.document import Vector

PREFIX = "sentence-transformers:"
RERANKER_PREFIX = "cross-encoder:"
Model = TypeVar("Model")


class TransformersMissing(Unavailable):
    """The model cannot be loaded: is the extra `transformers` installed, and are its weights at hand?"""

    reason = "TRANSFORMERS_MISSING"


class Encoder(Protocol):
    """What we use of a sentence transformer."""

    def encode(self, sentences: list[str]) -> Iterable[Iterable[float]]: ...


class PairScorer(Protocol):
    """What we use of a cross-encoder."""

    def predict(self, sentences: list[tuple[str, str]]) -> Iterable[float]: ...


class SentenceTransformerEmbedder:
    """An Embedder. One batch at a time, in a thread."""

    floor = 0.2
    weight = 1.0

    def __init__(self, name: str, load: "Callable[[str], Encoder]") -> None:
        self.name = name
        self._load = load
        self._model: Encoder | None = None
        self._turn = asyncio.Lock()
        self._dimensions = 0

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Raises TransformersMissing or EmbedderDiffers."""
        async with self._turn:
            vectors = checked(self.name, await asyncio.to_thread(self._encode, list(texts)), len(texts), self._dimensions)
            self._dimensions = len(vectors[0]) if vectors else self._dimensions
            return vectors

    async def embed_query(self, text: str) -> Vector:
        """Raises TransformersMissing or EmbedderDiffers."""
        (vector,) = await self.embed_passages([text])
        return vector

    def _encode(self, texts: list[str]) -> list[Iterable[float]]:
        self._model = self._model or loaded(self._load, self.name.removeprefix(PREFIX))
        return list(self._model.encode(texts))


class CrossEncoderReranker:
    """A Reranker. One query at a time, in a thread that goes on when nobody waits for it any more."""

    def __init__(self, name: str, load: "Callable[[str], PairScorer]") -> None:
        self.name = name
        self._load = load
        self._model: PairScorer | None = None
        self._turn = asyncio.Lock()

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Raises TransformersMissing."""
        async with self._turn:
            return await asyncio.to_thread(self._score, [(query, text) for text in texts])

    def _score(self, pairs: list[tuple[str, str]]) -> list[float]:
        self._model = self._model or loaded(self._load, self.name.removeprefix(RERANKER_PREFIX))
        return [float(score) for score in self._model.predict(pairs)]


def loaded(load: "Callable[[str], Model]", name: str) -> "Model":
    """The model. Raises TransformersMissing, whatever its library raises."""
    try:
        return load(name)
    except PlimsollError:
        raise
    except Exception as error:  # a missing library, no network, damaged weights: the library has no tree of errors
        raise TransformersMissing(f"the model {name!r} cannot be loaded: {type(error).__name__}") from error


def load_encoder(name: str) -> Encoder:
    """From the library, which is imported here only: it takes seconds and hundreds of megabytes."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model: Encoder = SentenceTransformer(name)
    return model


def load_pair_scorer(name: str) -> PairScorer:
    """Likewise."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    model: PairScorer = CrossEncoder(name)
    return model
