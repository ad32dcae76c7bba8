"""What codecs and the transport hand each other: requests, refusals, and the shape of a codec."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Chunk, Reply
from plimsoll_model_router.errors import ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    url: str
    headers: Mapping[str, str]
    body: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRefusal:
    """An answer with an error status.

    Attributes:
    headers  names in lower case
    body     empty when it is not a JSON object
    at       when it came, by our clock
    """

    status: int
    headers: Mapping[str, str]
    body: JsonObject
    at: datetime


class Decoder(Protocol):
    """Follows one stream to its verified end. Every method raises ProviderError for what breaks the dialect."""

    @property
    def usage(self) -> Usage:
        """What was consumed so far: what the provider told, else what it looks like."""
        ...

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds."""
        ...

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly; raises unless the stream had come to its end."""
        ...


class Codec(Protocol):
    """How one dialect is spoken: pure functions, neutral ↔ wire."""

    def request(self, ask: Ask, report: Report) -> WireRequest:
        """Raises ProviderError for what the dialect cannot say."""
        ...

    def decode(self, body: JsonObject, ask: Ask, report: Report) -> Reply: ...

    def decoder(self, ask: Ask, report: Report) -> Decoder: ...

    def refusal(self, refusal: WireRefusal, where: str) -> ProviderError: ...

    def embedding_request(self, ask: EmbeddingAsk) -> WireRequest:
        """Raises ProviderError in dialects that have none."""
        ...

    def embeddings(self, body: JsonObject, ask: EmbeddingAsk) -> Embeddings: ...
