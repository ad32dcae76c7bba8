"""The stream of Gemini: every event is a whole partial response; events in, pieces and one verified end out, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers import gemini_codec as codec
from plimsoll_model_router.adapters.providers.reading import an_object, objects, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask
from plimsoll_model_router.domain.generation import Chunk, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Part, Reasoning, Text, ToolCall
from plimsoll_model_router.domain.tokens import parts_tokens, question_tokens


class StreamDecoder:
    """Follows one stream. There is no end mark: a finish reason, and then a clean end of the connection, make it a success."""

    def __init__(self, ask: Ask, report: Report) -> None:
        self._ask = ask
        self._where = ask.endpoint.full_name
        self._report = report
        self._parts: list[Part] = []
        self._taken: set[str] = set()
        self._usage: JsonObject = {}
        self._stop = ""
        self._model = ""

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        try:
            data = parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error
        if data.get("error"):
            raise codec.error_in(data, 0, self._where, usage=self.usage)
        self._model = text(data.get("modelVersion")) or self._model
        self._usage = an_object(data.get("usageMetadata")) or self._usage  # totals so far, not increments
        if text(an_object(data.get("promptFeedback")).get("blockReason")):
            self._stop = self._stop or "SAFETY"
        for candidate in objects(data.get("candidates"))[:1]:
            for part in objects(an_object(candidate.get("content")).get("parts")):
                yield from self._part(part)
            self._stop = text(candidate.get("finishReason")) or self._stop

    @property
    def usage(self) -> Usage:
        """What was consumed so far; before the provider tells it, it is estimated, and before a word nothing."""
        if self._usage or not self._parts:
            return codec.usage_of(self._usage)
        return Usage(input_tokens=question_tokens(self._ask.question), output_tokens=parts_tokens(tuple(self._parts)))

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the model had said why it stopped."""
        if not self._stop:
            raise failures.broken(self._where, self.usage)
        yield Finished(reply=codec.reply_of(_joined(self._parts), self._stop, self._usage, self._model, self._ask))

    def _part(self, wire: JsonObject) -> Iterator[Chunk]:
        calls = sum(isinstance(part, ToolCall) for part in self._parts)
        for part in codec.part_of(wire, self._taken, self._ask, self._report):
            self._parts.append(part)
            match part:
                case Text(text=written):
                    yield TextDelta(text=written)
                case Reasoning(text=thought) if thought:
                    yield ReasoningDelta(text=thought)
                case ToolCall():
                    yield ToolCallDelta(index=calls, call_id=part.call_id, tool=part.tool, arguments=dump_json(part.arguments))
                case _:
                    pass


def _joined(parts: list[Part]) -> list[Part]:
    """The pieces of one text, or of one thought, as one part; a signature ends the piece that it belongs to."""
    out: list[Part] = []
    for part in parts:
        match out[-1] if out else None, part:
            case Text(text=before), Text(text=more):
                out[-1] = Text(text=before + more)
            case Reasoning(text=before, signature=""), Reasoning(text=more, signature="", provenance=made_by) if before and more:
                out[-1] = Reasoning(text=before + more, provenance=made_by)
            case _:
                out.append(part)
    return out
