"""A provider behind HTTP: any dialect on the shared transport."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol

from plimsoll_runtime.json_types import JsonObject

from plimsoll_model_router.adapters.providers.http import HttpTransport, ProviderAnswered, WireRequest
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.generation import Chunk, Question, Reply
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import ProviderError


class Decoder(Protocol):
    """Follows one stream."""

    def feed(self, event: SseEvent) -> Iterator[Chunk]: ...

    def end(self) -> Iterator[Chunk]: ...


class Dialect(Protocol):
    """How one provider wants to be asked, and how it answers."""

    def request(self, question: Question, where: str, *, stream: bool) -> WireRequest: ...

    def decode(self, body: JsonObject, question: Question, where: str) -> Reply: ...

    def decoder(self, question: Question, where: str) -> Decoder: ...

    def error(self, refusal: ProviderAnswered, where: str) -> ProviderError: ...


class HttpProvider:
    """Asks one model in one dialect."""

    def __init__(self, model: Model, dialect: Dialect, transport: HttpTransport) -> None:
        self._model = model
        self._dialect = dialect
        self._transport = transport

    @property
    def models(self) -> Sequence[Model]:
        return (self._model,)

    async def generate(self, question: Question) -> Reply:
        where = self._model.full_name
        try:
            body = await self._transport.ask(self._dialect.request(question, where, stream=False))
        except ProviderAnswered as refusal:
            raise self._dialect.error(refusal, where) from refusal
        return self._dialect.decode(body, question, where)

    async def stream(self, question: Question) -> AsyncGenerator[Chunk, None]:
        where = self._model.full_name
        decoder = self._dialect.decoder(question, where)
        try:
            async with aclosing(self._transport.events(self._dialect.request(question, where, stream=True))) as events:
                async for event in events:
                    for chunk in decoder.feed(event):
                        yield chunk
        except ProviderAnswered as refusal:
            raise self._dialect.error(refusal, where) from refusal
        for chunk in decoder.end():
            yield chunk
