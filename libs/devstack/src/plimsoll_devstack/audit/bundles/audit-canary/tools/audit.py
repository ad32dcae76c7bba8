"""A tool that returns what it was given."""

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected


async def audit_echo(arguments: JsonObject, context: ToolContext) -> JsonValue:
    if str(arguments["canary"]).endswith("-fail"):
        raise ToolRejected("ASKED_TO_FAIL", "the mark asks for a refusal")
    return {"canary": arguments["canary"]}
