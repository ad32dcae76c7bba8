"""Output schemas as providers can enforce them: never more than a provider understands, never another meaning."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_router_conversations import INTENTS
from plimsoll_model_router.adapters.providers.schema_fit import ANTHROPIC_RULES, GEMINI_RULES, OPENAI_RULES, SchemaRules, fitted
from plimsoll_runtime.json_types import JsonObject, JsonValue

RULES = pytest.mark.parametrize("rules", [OPENAI_RULES, ANTHROPIC_RULES, GEMINI_RULES])
OPTIONAL: JsonObject = {"type": "object", "additionalProperties": False, "required": [], "properties": {"a": {"type": "string"}}}
OPEN: JsonObject = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}


@RULES
def test_what_a_provider_can_enforce_as_it_is_stays_as_it_is(rules: SchemaRules) -> None:
    found = fitted(INTENTS, rules)
    assert found is not None
    assert (found.schema, found.relaxed) == (INTENTS, False)


@RULES
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "required": ["b"], "properties": {"a": {}}},
        {**INTENTS, "oneOf": [{"required": ["a"]}]},
        {**INTENTS, "properties": {"intent": {"not": {"const": "x"}}}},
        {**INTENTS, "properties": {"intent": {"type": "array", "items": {"type": "object"}}}},
    ],
)
def test_what_has_no_strict_form_has_none(rules: SchemaRules, schema: JsonObject) -> None:
    assert fitted(schema, rules) is None


def test_optional_properties_are_left_to_those_who_know_them() -> None:
    assert fitted(OPTIONAL, OPENAI_RULES) is None  # it would have to make every one of them up
    assert fitted(OPTIONAL, ANTHROPIC_RULES) is not None
    assert fitted(OPTIONAL, GEMINI_RULES) is not None


def test_objects_that_say_nothing_of_further_properties_are_closed_where_they_have_to_be() -> None:
    for rules, closed in ((OPENAI_RULES, True), (ANTHROPIC_RULES, True), (GEMINI_RULES, False)):
        found = fitted(OPEN, rules)
        assert found is not None
        assert (found.schema.get("additionalProperties") is False, found.relaxed) == (closed, False)
    assert fitted({**OPEN, "additionalProperties": True}, OPENAI_RULES) is None  # it says that it wants them


@RULES
def test_constraints_that_a_provider_does_not_know_are_left_to_us(rules: SchemaRules) -> None:
    found = fitted({**INTENTS, "properties": {"intent": {"type": "string", "minLength": 3}}}, rules)
    assert found is not None
    assert found.relaxed
    assert found.schema["properties"] == {"intent": {"type": "string"}}


LEAVES = st.sampled_from(
    [{"type": "string"}, {"type": "integer", "minimum": 0}, {"enum": ["a", "b"]}, {"type": "string", "maxLength": 5}, {"type": "boolean"}]
)


def _object(properties: dict[str, JsonValue], required: bool, closed: bool) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": properties, "required": sorted(properties) if required else []}
    return {**schema, "additionalProperties": False} if closed else schema


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), st.booleans(), st.booleans()),
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from(["a", "long text", 3, -1, True, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.builds(_object, st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1, max_size=3), st.booleans(), st.booleans()), VALUES)
def test_a_form_that_is_not_relaxed_allows_nothing_that_the_schema_forbids(schema: JsonObject, value: JsonValue) -> None:
    for rules in (OPENAI_RULES, ANTHROPIC_RULES, GEMINI_RULES):
        found = fitted(schema, rules)
        if found is None:
            continue
        assert fitted(found.schema, rules) is not None
        if not found.relaxed and jsonschema_rs.is_valid(found.schema, value):
            assert jsonschema_rs.is_valid(schema, value)
