"""The stream of Anthropic Messages: events in, pieces and one verified end out, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.conversation import arguments_of, call_id
from plimsoll_model_router.adapters.providers.reading import an_object, count, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask
from plimsoll_model_router.domain.generation import Chunk, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Part
from plimsoll_model_router.domain.tokens import count_tokens, question_tokens


@dataclass(slots=True)
class _Block:
    """A content block while it grows. `call` is its place among the calls, and its id there."""

    start: JsonObject
    text: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    call: tuple[int, str] = (0, "")
    closed: bool = False

    def whole(self, report: Report) -> JsonObject:
        """The block as a response without streaming would hold it."""
        written = "".join(self.text)
        match self.start.get("type"):
            case "text":
                return {**self.start, "text": text(self.start.get("text")) + written}
            case "thinking":
                signature = text(self.start.get("signature")) + "".join(self.signature)
                return {**self.start, "thinking": text(self.start.get("thinking")) + written, "signature": signature}
            case "tool_use":
                given = arguments_of(written, report) if written.strip() else self.start.get("input") or {}
                return {**self.start, "id": self.call[1], "input": given}
            case _:
                return self.start


class StreamDecoder:
    """Follows one stream. Only `message_stop` behind a stop reason, with every block closed, makes it a success."""

    def __init__(self, ask: Ask, report: Report) -> None:
        self._ask = ask
        self._where = ask.endpoint.full_name
        self._report = report
        self._blocks: dict[int, _Block] = {}
        self._taken: set[str] = set()
        self._usage: JsonObject = {}
        self._stop = ""
        self._refusal = ""
        self._model = ""
        self._finished = False

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        try:
            data = parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error
        match data.get("type"):
            case "content_block_delta":
                yield from self._delta(data)
            case "message_start":
                message = an_object(data.get("message"))
                self._usage = an_object(message.get("usage"))
                self._model = text(message.get("model"))
            case "content_block_start":
                yield from self._begin(data)
            case "content_block_stop":
                self._block(data).closed = True
            case "message_delta":
                delta = an_object(data.get("delta"))
                self._stop = text(delta.get("stop_reason")) or self._stop
                self._refusal = text(an_object(delta.get("stop_details")).get("explanation")) or self._refusal
                self._usage = {**self._usage, **an_object(data.get("usage"))}  # its counts are totals, not increments
            case "message_stop":
                yield self._finish()
            case "error":
                raise codec.error_in(data, 0, self._where, usage=self.usage)
            case _:
                pass  # ping, and what the provider may add

    @property
    def usage(self) -> Usage:
        """What was consumed so far: the totals come at the end, before that the output is what was seen."""
        told = codec.usage_of(self._usage)
        seen = sum(count_tokens("".join(block.text)) for block in self._blocks.values())
        asked = told.input_tokens or (question_tokens(self._ask.question) if self._usage or self._blocks else 0)
        return replace(told, input_tokens=asked, output_tokens=max(told.output_tokens, seen))

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the stream had come to its verified end."""
        if not self._finished:
            raise failures.broken(self._where, self.usage)
        yield from ()

    def _begin(self, data: JsonObject) -> Iterator[Chunk]:
        block = _Block(an_object(data.get("content_block")))
        index = count(data.get("index"))
        if index in self._blocks:
            raise failures.malformed(self._where, "a block begins twice", self.usage)
        if block.start.get("type") == "tool_use":
            order = sum(known.start.get("type") == "tool_use" for known in self._blocks.values())
            block.call = order, call_id(text(block.start.get("id")), self._taken, self._report)
            yield ToolCallDelta(index=order, call_id=block.call[1], tool=text(block.start.get("name")))
        elif begun := text(block.start.get("text")):
            yield TextDelta(text=begun)
        self._blocks[index] = block

    def _block(self, data: JsonObject) -> _Block:
        block = self._blocks.get(count(data.get("index")))
        if block is None or block.closed:
            raise failures.malformed(self._where, "a chunk of a block that is not open", self.usage)
        return block

    def _delta(self, data: JsonObject) -> Iterator[Chunk]:
        block, delta = self._block(data), an_object(data.get("delta"))
        match delta.get("type"):
            case "text_delta":
                if written := text(delta.get("text")):
                    block.text.append(written)
                    yield TextDelta(text=written)
            case "input_json_delta":
                if written := text(delta.get("partial_json")):
                    block.text.append(written)
                    yield ToolCallDelta(index=block.call[0], arguments=written)
            case "thinking_delta":
                if written := text(delta.get("thinking")):
                    block.text.append(written)
                    yield ReasoningDelta(text=written)
            case "signature_delta":
                block.signature.append(text(delta.get("signature")))
            case _:
                pass

    def _finish(self) -> Finished:
        if self._finished or not self._stop or any(not block.closed for block in self._blocks.values()):
            raise failures.malformed(self._where, "it ends in the middle", self.usage)
        taken: set[str] = set()
        parts: list[Part] = []
        for index in sorted(self._blocks):
            parts += codec.part_of(self._blocks[index].whole(self._report), taken, self._ask, self._report)
        reply = codec.reply_of(parts, self._stop, self._usage, self._model, self._ask, refusal=self._refusal)
        self._finished = True
        return Finished(reply=reply)
