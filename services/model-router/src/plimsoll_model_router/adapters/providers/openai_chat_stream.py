"""The stream of Chat Completions: events in, pieces and one verified end out, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers import openai_chat_codec as codec
from plimsoll_model_router.adapters.providers.conversation import arguments_of, call_id
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask
from plimsoll_model_router.domain.generation import Chunk, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Part, ToolCall

_END = "[DONE]"


@dataclass(slots=True)
class _Call:
    """A tool call while it grows. `given` is the provider's id for it, `call_id` ours."""

    order: int
    given: str
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class StreamDecoder:
    """Follows one stream. A finish reason, and then the end mark or a clean end of the connection, makes it a success."""

    def __init__(self, ask: Ask, report: Report) -> None:
        self._ask = ask
        self._where = ask.endpoint.full_name
        self._report = report
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._taken: set[str] = set()
        self._usage: JsonObject = {}
        self._stop = ""
        self._model = ""
        self._finished = False

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        if event.data.startswith(_END):
            yield self._finish()
            return
        try:
            data = parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error
        if data.get("error") or event.name == "error":
            raise codec.error_in(data, 0, self._where, usage=self.usage)
        self._model = text(data.get("model")) or self._model
        if told := data.get("usage"):
            self._usage = an_object(told)
        for choice in objects(data.get("choices"))[:1]:
            self._stop = text(choice.get("finish_reason")) or self._stop
            yield from self._delta(an_object(choice.get("delta")))

    @property
    def usage(self) -> Usage:
        """What was consumed so far; the provider tells it in its last chunk, before that it is estimated, and before a word nothing."""
        parts = self._parts()
        if self._usage or not parts:
            return codec.usage_of(self._usage)
        return codec.estimated(self._ask, parts)

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the stream had come to its verified end."""
        if self._finished:
            return
        if not self._stop:
            raise failures.broken(self._where, self.usage)
        yield self._finish()

    def _delta(self, delta: JsonObject) -> Iterator[Chunk]:
        if thought := codec.reasoning_in(delta):
            self._reasoning.append(thought)
            yield ReasoningDelta(text=thought)
        if content := text(delta.get("content")):
            self._content.append(content)
            yield TextDelta(text=content)
        if refusal := text(delta.get("refusal")):
            self._refusal.append(refusal)
        for piece in objects(delta.get("tool_calls")):
            yield self._piece(piece)

    def _piece(self, piece: JsonObject) -> ToolCallDelta:
        """The first piece of a call tells its id and its name, every further one a part of its arguments."""
        position, function = self._position(piece), an_object(piece.get("function"))
        written = text(function.get("arguments"))
        call = self._calls.get(position)
        if call is not None:
            call.name = call.name or text(function.get("name"))
            call.arguments.append(written)
            return ToolCallDelta(index=call.order, arguments=written)
        given, order = text(piece.get("id")), len(self._calls)
        call = _Call(
            order=order,
            given=given,
            call_id=call_id(given, self._taken, self._report),
            name=text(function.get("name")),
            arguments=[written],
        )
        self._calls[position] = call
        return ToolCallDelta(index=order, call_id=call.call_id, tool=call.name, arguments=written)

    def _position(self, piece: JsonObject) -> int:
        """Where the piece belongs; servers that leave the index out begin a new call with every new id."""
        if "index" in piece:
            return count(piece.get("index"))
        given = text(piece.get("id"))
        known = next((at for at, call in self._calls.items() if given and call.given == given), None)
        if known is not None:
            return known
        return len(self._calls) if given or not self._calls else max(self._calls)

    def _parts(self) -> list[Part]:
        parts = codec.spoken_parts(
            content="".join(self._content), reasoning="".join(self._reasoning), refusal="".join(self._refusal), ask=self._ask
        )
        for call in self._calls.values():
            arguments = arguments_of("".join(call.arguments), self._report)
            parts.append(ToolCall(call_id=call.call_id, tool=call.name, arguments=arguments))
        return parts

    def _finish(self) -> Finished:
        if self._finished:
            raise failures.malformed(self._where, "it ends twice", self.usage)
        if not self._stop:
            raise failures.malformed(self._where, "it ends without a finish reason", self.usage)
        self._finished = True
        return Finished(reply=codec.reply_of(self._parts(), self._stop, self._usage, self._model, self._ask))
