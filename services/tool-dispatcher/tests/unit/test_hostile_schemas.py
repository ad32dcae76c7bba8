"""Schemas and arguments that mean harm: the catalogue's T01 to T06, at the dispatcher's door."""

import tracemalloc

import pytest
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll_runtime.context import Caller
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.domain.call import Call
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.transport.codec import call_from_proto

CALLER = Caller(service="orchestrator", tenant="acme", principal="")
MOST_CHARS = 8 * 1024 * 1024


def schema(document: JsonObject) -> Schema:
    compiled, problems = compile_schema(document, "arguments")
    assert compiled is not None, problems
    return compiled


def called(arguments: str) -> Call:
    work = work_pb2.WorkContext(run_id="run_1", node="n", agent="a", agent_version="1", epoch=1)
    request = pb.DispatchRequest(call_key="key_1", tool="look_up", arguments=json_pb2.JsonValue(text=arguments), work=work)
    return call_from_proto(request, CALLER, MOST_CHARS)


@pytest.mark.parametrize(
    "ref", ["http://canary.test/x", "https://canary.test/x#/a", "file:///etc/passwd", "//canary.test/x", "other.json", "urn:x"]
)
@pytest.mark.parametrize("place", ["properties", "$defs", "items"])
def test_t01_a_schema_that_refers_outside_is_refused_with_the_place(ref: str, place: str) -> None:
    inner: JsonObject = {"$ref": ref}
    document: JsonObject = {"type": "object", place: inner if place == "items" else {"a": inner}}
    compiled, problems = compile_schema(document, "arguments")
    assert compiled is None
    assert any("outside of this schema" in problem.problem and place in problem.field for problem in problems)


def test_t02_a_circle_of_references_works_as_deep_as_values_may_be() -> None:
    node: JsonObject = {"type": "object", "properties": {"left": {"$ref": "#/$defs/b"}, "n": {"type": "integer"}}}
    tree = schema({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": node, "b": {"$ref": "#/$defs/a"}}})

    def nested(levels: int, n: JsonValue) -> JsonValue:
        return {"left": nested(levels - 1, n)} if levels else {"n": n}

    assert tree.problems(nested(20, 1), "arguments") == ()
    assert [problem.field for problem in tree.problems(nested(20, "no"), "arguments")] == ["arguments" + ".left" * 20 + ".n"]
    assert [problem.field for problem in tree.problems(nested(tree.max_nesting, 1), "arguments")] == ["arguments"]


def test_t03_a_pattern_that_could_run_for_ever_does_not() -> None:
    evil = schema({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    assert evil.problems({"a": "a" * 50_000 + "!"}, "arguments")
    assert evil.problems({"a": "a" * 50_000}, "arguments") == ()


@pytest.mark.parametrize("pattern", ["(?=a)b", "(a)\\1", "(?<!x)y", "a{1,100000}{1,100000}", "("])
def test_t03_a_pattern_that_only_backtracking_can_match_is_refused(pattern: str) -> None:
    compiled, problems = compile_schema({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}, "arguments")
    assert compiled is None
    assert problems


def test_t04_arguments_nested_without_measure_are_refused() -> None:
    with pytest.raises(Invalid):
        called('{"a":' * 5000 + "1" + "}" * 5000)


def test_t04_arguments_over_the_limit_are_not_even_read() -> None:
    text = '{"a":"' + "x" * (10 * 1024 * 1024) + '"}'
    tracemalloc.start()
    try:
        call = called(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (call.arguments, call.arguments_chars) == (None, len(text))
    assert peak < 4 * len(text)


def test_t04_a_million_keys_are_refused_by_the_schema_with_few_words() -> None:
    closed = schema({"type": "object", "additionalProperties": False, "properties": {"a": {}}})
    problems = closed.problems({f"k{number}": 0 for number in range(1_000_000)}, "arguments")
    assert 0 < len(problems) <= 20


@pytest.mark.parametrize("word", ["anyOf", "allOf", "oneOf"])
def test_t05_a_schema_that_multiplies_is_refused(word: str) -> None:
    bomb: JsonObject = {"type": "string"}
    for _ in range(20):
        bomb = {word: [bomb, bomb]}
    compiled, problems = compile_schema({"type": "object", "properties": {"a": bomb}}, "arguments")
    assert compiled is None
    assert problems


def test_t05_a_schema_of_many_parts_is_refused() -> None:
    compiled, _ = compile_schema(
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(5000)}}, "arguments"
    )
    assert compiled is None


@pytest.mark.parametrize(
    "text", ['{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":"\\ud800"}', '{"a":"\\u0000"}', '{"a":1,}', "{'a':1}", '{"a":01}']
)
def test_t06_what_is_no_json_that_every_store_takes_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        called(text)


def test_t06_of_two_equal_keys_the_last_counts_and_the_digest_is_that_of_what_counts() -> None:
    assert called('{"a":1,"a":2}').arguments == {"a": 2}
    assert called('{"a":1,"a":2}').request_digest == called('{"a":2}').request_digest != called('{"a":1}').request_digest


def test_t06_spelling_does_not_change_the_digest_and_meaning_does() -> None:
    assert called('{"b":1,"a":"\\u00e9"}').request_digest == called(' { "a" : "é", "b" : 1 } ').request_digest
    assert called('{"a":"e\\u0301"}').request_digest != called('{"a":"\\u00e9"}').request_digest
    assert called('{"a":1}').request_digest != called('{"a":true}').request_digest


def test_t06_integers_keep_every_digit_up_to_64_bits() -> None:
    assert called('{"a":18446744073709551615}').arguments == {"a": 2**64 - 1}
    assert called('{"a":9007199254740993}').request_digest != called('{"a":9007199254740992}').request_digest
    assert called(f'{{"a":{2**70}}}').arguments == {"a": float(2**70)}
