"""What MCP servers say, read with care: tools, results and errors as our values."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import find_invalid_x_mcp_header
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    CallToolResult,
    TextContent,
)
from mcp_types import Tool as ServedTool
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_tool_dispatcher.adapters.python_handlers.masking import masked
from plimsoll_tool_dispatcher.adapters.sources.mcp.exchange import Exchange
from plimsoll_tool_dispatcher.adapters.sources.outcomes import after_error, after_status, stopped
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool, plain_text
from plimsoll_tool_dispatcher.domain.schema_shape import MAX_NESTING, nesting
from plimsoll_tool_dispatcher.domain.sources import McpSource
from plimsoll_tool_dispatcher.domain.tool import Tool

_DEFINITE = {INVALID_PARAMS: "INVALID_PARAMS", INVALID_REQUEST: "INVALID_REQUEST", METHOD_NOT_FOUND: "METHOD_NOT_FOUND"}
_TEXT_RESULT: JsonObject = {
    "type": "object",
    "required": ["text", "parts"],
    "properties": {
        "text": {"type": "string", "description": "What the tool says"},
        "parts": {"type": "array", "description": "Whatever is not text, such as images and resources", "items": {"type": "object"}},
    },
}


def read_tool(source: str, served: ServedTool) -> tuple[RemoteTool | None, tuple[FieldProblem, ...]]:
    """A tool as the server describes it. Its annotations are not believed: what a tool does to the world is for the operator to say."""
    where = f"{source}.{plain_text(served.name)[:80]}"
    if nesting(served.input_schema, MAX_NESTING) > MAX_NESTING or nesting(served.output_schema, MAX_NESTING) > MAX_NESTING:
        return None, (FieldProblem(where, f"has a schema nested deeper than {MAX_NESTING} levels", "ask the server's owner"),)
    if (reason := find_invalid_x_mcp_header(served.input_schema)) is not None:
        return None, (
            FieldProblem(where, f"has an x-mcp-header that must not be: {plain_text(str(reason))[:120]}", "ask the server's owner"),
        )
    arguments: JsonObject = {"type": "object", **_without_marks(served.input_schema)}
    result: JsonObject = _without_marks(served.output_schema) if served.output_schema is not None else _TEXT_RESULT
    description = served.description or served.title or ""
    shape = digest([served.name, description, served.input_schema, served.output_schema])
    return (
        RemoteTool(
            name=served.name,
            description=description,
            arguments=arguments,
            result=result,
            effect=EffectClass.NON_IDEMPOTENT,
            source=McpSource(source=source, tool=served.name, shape=shape),
        ),
        (),
    )


def mirrored_arguments(served: Sequence[ServedTool]) -> bool:
    """Whether some tool wants arguments in headers as well."""
    return any("x-mcp-header" in str(one.input_schema) for one in served)


def answer_of(tool: Tool, result: CallToolResult, structured: bool, secrets: Mapping[str, str]) -> Attempt:
    """The tool's result: what it structured where it declares so, its text otherwise."""
    text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
    if result.is_error:
        told = masked(text, secrets) or "the tool reports an error and says no more"
        return stopped(tool, Category.UPSTREAM_REJECTED, "TOOL_REPORTED_ERROR", told)
    if structured:
        if "structured_content" not in result.model_fields_set:
            return stopped(tool, Category.MALFORMED_RESULT, "RESULT_NOT_STRUCTURED", "the tool declares a structured result and gave none")
        value: JsonValue = result.structured_content
        return Answered(result=value)
    parts: list[JsonValue] = [
        part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in result.content if not isinstance(part, TextContent)
    ]
    return Answered(result={"text": text, "parts": parts}, size=len(text))


def after_call_error(tool: Tool, error: MCPError, exchange: Exchange, secrets: Mapping[str, str], now: datetime) -> Stopped:
    """What was noted on the way decides; what the library says only where nothing was."""
    if exchange.fault is not None:
        return after_error(tool, exchange.fault)
    told = masked(error.message, secrets)
    if exchange.status == 404 and error.code == INVALID_REQUEST:
        return stopped(tool, Category.UPSTREAM_UNAVAILABLE, "SESSION_GONE", "the server has forgotten the session", Mishap.NOT_ACTED)
    if exchange.status and error.code not in _DEFINITE:
        return after_status(tool, exchange.status, exchange.retry_after, masked(exchange.told, secrets)[:400], now)
    if error.code in _DEFINITE:
        return stopped(tool, Category.UPSTREAM_REJECTED, _DEFINITE[error.code], f"the server refuses the call: {told}")
    if error.code == PARSE_ERROR:
        return stopped(tool, Category.MALFORMED_RESULT, "ANSWER_UNFIT", "the answer is no message of the protocol")
    if not exchange.sent:
        return stopped(
            tool, Category.UPSTREAM_UNAVAILABLE, "NOT_CONNECTED", "the connection ended before the call was sent", Mishap.REFUSED
        )
    return stopped(tool, Category.UPSTREAM_UNAVAILABLE, "CALL_LOST", f"the call ended without an answer: {told}", Mishap.LOST)


def _without_marks(schema: JsonObject) -> JsonObject:
    """Without the dialect, which is ours where it says nothing we do not read."""
    return {word: value for word, value in schema.items() if word != "$schema" or "2020-12" not in str(value)}
