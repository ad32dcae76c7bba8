"""The stream of OpenAI Responses: events in, pieces and one verified end out, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_object
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers import openai_responses_codec as codec
from plimsoll_model_router.adapters.providers.conversation import call_id
from plimsoll_model_router.adapters.providers.reading import an_object, count, text
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask
from plimsoll_model_router.domain.generation import Chunk, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.tokens import count_tokens, question_tokens

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


class StreamDecoder:
    """Follows one stream. Only its terminal event makes it a success, and the response in there is the truth."""

    def __init__(self, ask: Ask, report: Report) -> None:
        self._ask = ask
        self._where = ask.endpoint.full_name
        self._report = report
        self._items: dict[int, JsonValue] = {}  # those that are done
        self._calls: dict[int, int] = {}  # output index → which call of the answer
        self._taken: set[str] = set()
        self._seen = 0
        self._finished = False

    def feed(self, event: SseEvent) -> Iterator[Chunk]:
        """What the event adds. Raises ProviderError for an error inside the stream and for events that make no sense."""
        data = self._read(event)
        match data.get("type"):
            case "response.output_text.delta":
                yield from self._text(data)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._thought(data)
            case "response.output_item.added":
                yield from self._added(data)
            case "response.function_call_arguments.delta":
                yield from self._arguments(data)
            case "response.output_item.done":
                self._items[count(data.get("output_index"))] = an_object(data.get("item"))
            case "error":
                raise codec.error_in(data, 0, self._where, usage=self.usage)
            case kind if kind in _TERMINAL:
                yield self._finish(an_object(data.get("response")))
            case _:
                pass  # parts that begin and end, and what the provider may add

    @property
    def usage(self) -> Usage:
        """What was consumed so far; the provider tells it at the end, before that it is estimated, and before a word nothing."""
        return Usage(input_tokens=question_tokens(self._ask.question), output_tokens=self._seen) if self._seen else Usage()

    def end(self) -> Iterator[Chunk]:
        """The connection ended cleanly. Raises ProviderError unless the stream had come to its verified end."""
        if not self._finished:
            raise failures.broken(self._where, self.usage)
        yield from ()

    def _read(self, event: SseEvent) -> JsonObject:
        if event.data.startswith("[DONE]"):  # some compatible servers add it
            return {}
        try:
            return parse_object(event.data)
        except Invalid as error:
            raise failures.malformed(self._where, "a chunk is not JSON", self.usage) from error

    def _text(self, data: JsonObject) -> Iterator[Chunk]:
        if piece := text(data.get("delta")):
            self._seen += count_tokens(piece)
            yield TextDelta(text=piece)

    def _thought(self, data: JsonObject) -> Iterator[Chunk]:
        if piece := text(data.get("delta")):
            self._seen += count_tokens(piece)
            yield ReasoningDelta(text=piece)

    def _added(self, data: JsonObject) -> Iterator[Chunk]:
        item, index = an_object(data.get("item")), count(data.get("output_index"))
        if item.get("type") == "function_call":
            order = self._calls.setdefault(index, len(self._calls))
            unique = call_id(text(item.get("call_id")), self._taken, self._report)
            yield ToolCallDelta(index=order, call_id=unique, tool=text(item.get("name")))

    def _arguments(self, data: JsonObject) -> Iterator[Chunk]:
        order = self._calls.get(count(data.get("output_index")))
        if order is None:
            raise failures.malformed(self._where, "a piece of a call that never began", self.usage)
        if piece := text(data.get("delta")):
            self._seen += count_tokens(piece)
            yield ToolCallDelta(index=order, arguments=piece)

    def _finish(self, response: JsonObject) -> Finished:
        if self._finished:
            raise failures.malformed(self._where, "it ends twice", self.usage)
        if not response.get("output") and self._items:  # some compatible servers leave it out at the end
            response = {**response, "output": [self._items[at] for at in sorted(self._items)]}
        reply = codec.decode(response, self._ask, self._report)
        self._finished = True
        return Finished(reply=reply)
