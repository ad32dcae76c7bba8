"""Declaring tools."""

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_toolhost import Effect, HostedTool, InvalidTool, Risk, ToolCall, ToolHost

ARGUMENTS: JsonObject = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


async def run(call: ToolCall) -> JsonValue:
    return call.arguments["n"]


def tool(name: str = "double", **changed: object) -> HostedTool:
    fields: dict[str, object] = {
        "name": name,
        "description": "Doubles",
        "arguments": ARGUMENTS,
        "result": {"type": "integer"},
        "effect": Effect.READ_ONLY,
        "risk": Risk.LOW,
        "run": run,
    }
    return HostedTool(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", "Double"), ("name", ""), ("name", "a" * 65), ("version", ""), ("description", " "), ("description", "x" * 4001)),
        *(("timeout_s", 0.0), ("timeout_s", 1e9), ("arguments", {"type": "array"}), ("run", lambda call: 1)),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidTool) as refused:
        tool(**{field: value})
    assert refused.value.problems[0].field.startswith(field)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "https://evil.test/schema"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}},
        {"type": "object", "required": "n"},
    ],
)
def test_a_schema_that_leads_outside_or_may_run_for_ever_is_refused(schema: JsonObject) -> None:
    with pytest.raises(InvalidTool, match=r"double\.arguments"):
        ToolHost([tool(arguments=schema)], logs.get("test"))


def test_a_name_is_there_once() -> None:
    with pytest.raises(InvalidTool):
        ToolHost([tool(), tool()], logs.get("test"))


def test_the_digest_tells_definitions_apart_and_not_functions() -> None:
    async def other(call: ToolCall) -> JsonValue:
        return 1

    assert tool().digest == tool(run=other).digest
    assert len({tool().digest, tool(version="2").digest, tool(effect=Effect.KEYED).digest, tool(timeout_s=1.0).digest}) == 4
