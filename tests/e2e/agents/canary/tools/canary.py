"""A tool that returns what it was given."""

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext


async def echo_canary(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"canary": arguments["canary"]}
