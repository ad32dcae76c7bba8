"""What a tool answered, checked before anybody sees it: the schema, and what no store, no log and no model may get."""

from collections.abc import Iterator

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_tool_dispatcher.domain.admission import told
from plimsoll_tool_dispatcher.domain.call import Failed, Outcome, Secrets, Succeeded
from plimsoll_tool_dispatcher.domain.execution import Answered
from plimsoll_tool_dispatcher.domain.tool import Tool

_SHORTEST_SECRET = 4  # shorter ones are in ordinary words


def checked(tool: Tool, answer: Answered, secrets: Secrets) -> Outcome:
    """The result, or `malformed_result`."""
    problems = tool.result.problems(answer.result, "result")
    if problems:
        return _malformed(tool, "RESULT_BREAKS_SCHEMA", told(problems))
    if "\\u0000" in dump_json(answer.result) and any("\0" in text for text in _texts(answer.result)):
        return _malformed(tool, "RESULT_HOLDS_ZERO", "the result holds the character U+0000, which no store takes")
    values = [value for value in secrets.values.values() if len(value) >= _SHORTEST_SECRET]
    if values and any(value in text for text in _texts(answer.result) for value in values):
        return _malformed(tool, "RESULT_HOLDS_CREDENTIAL", "the result holds a credential of the tool and was thrown away")
    return Succeeded(result=answer.result)


def _texts(value: JsonValue) -> Iterator[str]:
    """Every text in the value, keys included. Does not recurse: results may be deep."""
    open_ends = [value]
    while open_ends:
        match open_ends.pop():
            case str() as text:
                yield text
            case list() as items:
                open_ends.extend(items)
            case dict() as fields:
                yield from fields
                open_ends.extend(fields.values())


def _malformed(tool: Tool, reason: str, message: str) -> Failed:
    return Failed(failure=Failure(category=Category.MALFORMED_RESULT, reason=reason, message=message, where=tool.name))
