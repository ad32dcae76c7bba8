"""Reading a conversation as the rehearsal model does: instructions, worked examples, the request, and what there is to quote."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import orjson
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.messages import Message, Role, ToolCall, ToolResult
from plimsoll_model_router.domain.rehearsal.facts import (
    Contents,
    Fact,
    Passage,
    facts_in,
    in_words,
    passages_in,
    read,
    records_in,
    unbracketed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question of the context and its answer; `value` is the answer as JSON when it is JSON, else its text."""

    user: str
    value: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Attributes:
    instructions  the system messages
    examples      earlier questions with their answers
    question      what is asked now, without passages and JSON; empty when they are all there is
    request       the question; without one, the text that the message is about
    text          the whole message, for finding values in it
    passages      text to quote: from the request and from tool results
    told          the JSON of the request in words
    facts         named values: of tool results first, then of the request
    records       objects found in lists and tables
    calls         tool calls made for this request so far
    results       their results
    """

    instructions: str
    examples: tuple[Example, ...]
    question: str
    request: str
    text: str
    passages: tuple[Passage, ...]
    told: tuple[Passage, ...]
    facts: tuple[Fact, ...]
    records: tuple[JsonObject, ...]
    calls: tuple[ToolCall, ...]
    results: tuple[ToolResult, ...]


def read_context(messages: tuple[Message, ...]) -> Context:
    """Everything before the last user message is instruction or example; everything after it belongs to answering it."""
    last = max((at for at, message in enumerate(messages) if message.role is Role.USER and message.text.strip()), default=-1)
    text = messages[last].text if last >= 0 else ""
    instructions = "\n".join(message.text for message in messages if message.role is Role.SYSTEM)
    after = messages[last + 1 :]
    results = tuple(result for message in after for result in message.tool_results)
    contents = read(text)
    facts, records = _told(results)
    return Context(
        instructions=instructions,
        examples=tuple(_examples(messages[: max(last, 0)])),
        question=contents.rest,
        request=contents.rest or _told_text(contents) or text,
        text=unbracketed(text),
        passages=(*contents.passages, *_quotable(results)),
        told=contents.told,
        facts=(*facts, *contents.facts),
        records=(*records, *contents.records),
        calls=tuple(call for message in after for call in message.tool_calls),
        results=results,
    )


def _examples(messages: tuple[Message, ...]) -> Iterator[Example]:
    for first, second in pairwise(messages):
        if first.role is Role.USER and second.role is Role.ASSISTANT and not second.tool_calls:
            answer = second.text.strip()
            if answer:
                yield Example(user=first.text, value=_answer(answer))


def _answer(text: str) -> JsonValue:
    if text[0] in '{["':
        try:
            parsed: JsonValue = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return parsed
    return text


def _told_text(contents: Contents) -> str:
    """The text of the passages, or inside the JSON, when a message is nothing but that."""
    passages = "\n".join(passage.text for passage in contents.passages)
    return passages or "\n".join(str(fact.value) for fact in contents.facts if isinstance(fact.value, str))


def _told(results: tuple[ToolResult, ...]) -> tuple[list[Fact], list[JsonObject]]:
    facts: list[Fact] = []
    records: list[JsonObject] = []
    for result in results:
        if result.is_error:
            continue
        found = records_in(result.content)
        facts += facts_in(result.content, 0) if not found else ()
        facts += [fact for number, record in enumerate(found, start=len(records) + 1) for fact in facts_in(record, number)]
        records += found
    return facts, records


def _quotable(results: tuple[ToolResult, ...]) -> list[Passage]:
    found: list[Passage] = []
    for result in results:
        if result.is_error:
            continue
        passages = passages_in(result.content)
        found += passages
        if not passages:
            found += in_words([result.content], result.tool)
    return found
