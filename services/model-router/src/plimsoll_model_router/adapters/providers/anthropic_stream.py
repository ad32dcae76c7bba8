"""The stream of Anthropic Messages: events in, text and one verified end out, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_json, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.reading import an_object, count, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.generation import Chunk, Finished, Question, TextDelta
from plimsoll_model_router.domain.messages import Part


@dataclass(slots=True)
class _Block:
    """A content block while it grows."""

    start: JsonObject
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    closed: bool = False

    def whole(self) -> JsonObject:
        """The block as a response without streaming would hold it."""
        match self.start.get("type"):
            case "text":
                return {**self.start, "text": text(self.start.get("text")) + "".join(self.text)}
            case "thinking":
                thinking = text(self.start.get("thinking")) + "".join(self.thinking)
                return {**self.start, "thinking": thinking, "signature": text(self.start.get("signature")) + "".join(self.signature)}
            case "tool_use":
                return {**self.start, "input": _arguments("".join(self.arguments), self.start.get("input"))}
            case _:
                return self.start


class StreamDecoder:
    """Follows one stream. Only `message_stop` behind a stop reason, with every block closed, makes it a success."""

    def __init__(self, question: Question, where: str) -> None:
        self._question = question
        self._where = where
        self._blocks: dict[int, _Block] = {}
        self._usage: JsonObject = {}
        self._stop = ""
        self._model = question.model
        self.finished = False

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        try:
            data = parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error
        match data.get("type"):
            case "message_start":
                message = an_object(data.get("message"))
                self._usage = an_object(message.get("usage"))
                self._model = text(message.get("model")) or self._model
            case "content_block_start":
                self._blocks[count(data.get("index"))] = _Block(an_object(data.get("content_block")))
            case "content_block_delta":
                yield from self._delta(data)
            case "content_block_stop":
                self._block(data).closed = True
            case "message_delta":
                self._stop = text(an_object(data.get("delta")).get("stop_reason")) or self._stop
                self._usage = {**self._usage, **an_object(data.get("usage"))}  # its counts are totals, not increments
            case "message_stop":
                yield self._finish()
            case "error":
                raise codec.error_in(data, 0, self._where)
            case _:
                pass  # ping, and what the provider may add

    @property
    def usage(self) -> Usage:
        """What was consumed so far."""
        return codec.usage_of(self._usage)

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the stream had come to its verified end."""
        if not self.finished:
            raise failures.broken(self._where, self.usage)
        yield from ()

    def _block(self, data: JsonObject) -> _Block:
        block = self._blocks.get(count(data.get("index")))
        if block is None:
            raise failures.malformed(self._where, "a chunk of a block that never began", self.usage)
        return block

    def _delta(self, data: JsonObject) -> Iterator[Chunk]:
        block, delta = self._block(data), an_object(data.get("delta"))
        match delta.get("type"):
            case "text_delta":
                block.text.append(text(delta.get("text")))
                yield TextDelta(text=block.text[-1])
            case "input_json_delta":
                block.arguments.append(text(delta.get("partial_json")))
            case "thinking_delta":
                block.thinking.append(text(delta.get("thinking")))
            case "signature_delta":
                block.signature.append(text(delta.get("signature")))
            case _:
                pass

    def _finish(self) -> Finished:
        if not self._stop or any(not block.closed for block in self._blocks.values()):
            raise failures.malformed(self._where, "it ends in the middle", self.usage)
        taken: set[str] = set()
        parts: list[Part] = []
        for index in sorted(self._blocks):
            parts += codec.part_of(self._blocks[index].whole(), index, taken, self._question)
        self.finished = True
        return Finished(reply=codec.reply_of(parts, self._stop, self.usage, self._model, self._where))


def _arguments(written: str, given: JsonValue) -> JsonValue:
    """The arguments as JSON; the text itself when the model wrote something else. Nothing written means what the start gave."""
    if not written.strip():
        return given if given is not None else {}
    try:
        return parse_json(written)
    except Invalid:
        return written
