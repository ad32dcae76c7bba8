"""The stream of OpenAI Chat Completions: events in, text and one verified end out, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers import openai_codec as codec
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.generation import Chunk, Finished, Question, TextDelta
from plimsoll_model_router.domain.messages import Part

_END = "[DONE]"


@dataclass(slots=True)
class _Call:
    """A tool call while it grows."""

    given_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class StreamDecoder:
    """Follows one stream. A finish reason, and then the end mark or a clean end of the connection, makes it a success."""

    def __init__(self, question: Question, where: str) -> None:
        self._question = question
        self._where = where
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._usage: Usage | None = None
        self._stop = ""
        self._model = question.model
        self.finished = False

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        if event.data.strip() == _END:
            yield self._finish()
            return
        try:
            data = parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error
        if data.get("error") or event.name == "error":
            raise codec.error_in(data, 0, self._where)
        self._model = text(data.get("model")) or self._model
        if data.get("usage"):
            self._usage = codec.usage_of(an_object(data.get("usage")))
        for choice in objects(data.get("choices"))[:1]:
            self._stop = text(choice.get("finish_reason")) or self._stop
            yield from self._delta(an_object(choice.get("delta")))

    @property
    def usage(self) -> Usage:
        """What was consumed so far; the provider tells it in its last chunk, before that it is estimated."""
        return self._usage or codec.estimated(self._question, self._parts())

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the stream had come to its verified end."""
        if self.finished:
            return
        if not self._stop:
            raise failures.broken(self._where, self.usage)
        yield self._finish()

    def _delta(self, delta: JsonObject) -> Iterator[Chunk]:
        content = text(delta.get("content"))
        if content:
            self._content.append(content)
            yield TextDelta(text=content)
        self._reasoning.append(codec.reasoning_in(delta))
        self._refusal.append(text(delta.get("refusal")))
        for piece in objects(delta.get("tool_calls")):
            call = self._calls.setdefault(self._position(piece), _Call())
            function = an_object(piece.get("function"))
            call.given_id = call.given_id or text(piece.get("id"))
            call.name = call.name or text(function.get("name"))
            call.arguments.append(text(function.get("arguments")))

    def _position(self, piece: JsonObject) -> int:
        """Where the piece belongs; servers that leave the index out begin a new call with every new id."""
        if "index" in piece:
            return count(piece.get("index"))
        given = text(piece.get("id"))
        known = next((at for at, call in self._calls.items() if given and call.given_id == given), None)
        if known is not None:
            return known
        return len(self._calls) if given or not self._calls else max(self._calls)

    def _parts(self) -> list[Part]:
        parts = codec.spoken_parts(
            content="".join(self._content),
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            question=self._question,
        )
        taken: set[str] = set()
        for order, index in enumerate(sorted(self._calls)):
            call = self._calls[index]
            parts.append(codec.call_of(call.given_id, call.name, "".join(call.arguments), order, taken))
        return parts

    def _finish(self) -> Finished:
        if self.finished:
            raise failures.malformed(self._where, "it ends twice", self.usage)
        if not self._stop:
            raise failures.malformed(self._where, "it ends without a finish reason", self.usage)
        self.finished = True
        return Finished(reply=codec.reply_of(self._parts(), self._stop, self.usage, self._model, self._where))
