"""Answers by schema: found in the context, learned from examples, or honestly made up, and always valid."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_router_samples import INTENTS, question
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import Message, StopReason, assistant, system, user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import RehearsalModel
from plimsoll_model_router.domain.rehearsal.sample import matching
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

INVOICE = """ACME Supplies Ltd
Invoice No: INV-2024-0117
Date: 3 March 2024
Customer: Northwind Bikes GmbH
Items:
- 4 x Brake pads, 12.50 EUR each
- 2 x Chain 11-speed, 29.90 EUR each

VAT 19 %: 20.86 EUR
Total due: 130.66 EUR
Please pay by 2 April 2024 to accounts@acme.example."""


def ask(asked: Question) -> Reply:
    return RehearsalModel(Fits()).reply(asked)


def filled(schema: JsonObject, *messages: Message) -> JsonValue:
    reply = ask(question(*messages, schema=schema))
    value = parse_json(reply.message.text)
    assert compiled(schema).problems(value) == ()
    return value


def field(schema: JsonObject, text: str, name: str = "value") -> JsonValue:
    value = filled({"type": "object", "required": [name], "properties": {name: schema}}, user(text))
    assert isinstance(value, dict)
    return value[name]


def test_the_fields_of_a_document_are_found_each_in_its_place() -> None:
    line: JsonObject = {
        "type": "object",
        "required": ["quantity", "name", "unit_price"],
        "properties": {"quantity": {"type": "integer"}, "name": {"type": "string"}, "unit_price": {"type": "number"}},
    }
    schema: JsonObject = {
        "type": "object",
        "required": ["kind", "number", "date", "due_date", "customer", "total", "currency", "email", "items"],
        "properties": {
            "kind": {"enum": ["contract", "invoice", "letter"]},
            "number": {"type": "string", "description": "the invoice number"},
            "date": {"type": "string", "format": "date"},
            "due_date": {"type": ["string", "null"], "format": "date", "description": "when it must be paid"},
            "customer": {"type": "string"},
            "total": {"type": "number", "description": "total amount due"},
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "email": {"type": "string", "format": "email"},
            "items": {"type": "array", "items": line},
        },
    }
    assert filled(schema, system("Extract the fields."), user(INVOICE)) == {
        "kind": "invoice",
        "number": "INV-2024-0117",
        "date": "2024-03-03",
        "due_date": "2024-04-02",
        "customer": "Northwind Bikes GmbH",
        "total": 130.66,
        "currency": "EUR",
        "email": "accounts@acme.example",
        "items": [
            {"quantity": 4, "name": "Brake pads", "unit_price": 12.5},
            {"quantity": 2, "name": "Chain 11-speed", "unit_price": 29.9},
        ],
    }


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string", "format": "date"}, "It happened on 5 May 2026.", "2026-05-05"),
        ({"type": "string", "pattern": "^BX-[0-9]+$"}, "my order BX-77 please", "BX-77"),
        ({"type": "integer", "minimum": 10}, "5 or 15 pieces", 15),
        ({"oneOf": [{"const": "red"}, {"const": "green"}]}, "I want the green one", "green"),
        ({"const": "fixed"}, "anything", "fixed"),
        ({"type": "array", "items": {"type": "string", "format": "email"}}, "a@x.example, b@y.example", ["a@x.example", "b@y.example"]),
        ({"type": "array", "items": {"enum": ["red", "green", "blue"]}}, "red and blue", ["red", "blue"]),
        ({"type": ["string", "null"], "format": "date"}, "no day at all", None),
        ({"type": "boolean", "description": "is the item broken"}, "It arrived broken.", True),
        ({"type": "boolean", "description": "is the item broken"}, "It is not broken.", False),
    ],
)
def test_single_values_are_found_by_their_kind(schema: JsonObject, text: str, expected: JsonValue) -> None:
    assert field(schema, text) == expected


def test_references_inside_a_schema_are_followed() -> None:
    schema: JsonObject = {
        "$defs": {"day": {"type": "string", "format": "date"}},
        "type": "object",
        "required": ["start"],
        "properties": {"start": {"$ref": "#/$defs/day"}},
    }
    assert filled(schema, user("from 5 May 2026")) == {"start": "2026-05-05"}


def test_optional_fields_that_the_text_does_not_give_are_left_out() -> None:
    schema: JsonObject = {"type": "object", "required": [], "properties": {"email": {"type": "string", "format": "email"}}}
    assert filled(schema, user("No address here.")) == {}


def test_what_the_context_does_not_give_is_made_up_with_no_confidence() -> None:
    schema: JsonObject = {
        "type": "object",
        "required": ["code"],
        "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}},
    }
    reply = ask(question(user("nothing to see"), schema=schema))
    assert compiled(schema).problems(parse_json(reply.message.text)) == ()
    assert reply.confidence is not None
    assert reply.confidence < 0.05


def test_examples_teach_labels_places_and_sentences() -> None:
    shown = (
        user("Ship to: Hamburg. The parcel must arrive by Friday. I am angry, this is a scandal."),
        assistant('{"city": "Hamburg", "tone": "angry", "duty": "The parcel must arrive by Friday."}'),
        user("Ship to: Oslo. Thanks a lot, that was great. You must not ring the bell."),
        assistant('{"city": "Oslo", "tone": "happy", "duty": "You must not ring the bell."}'),
        user("Ship to: Rome. A scandal again. The box must be opened."),
        assistant('{"city": "Rome", "tone": "angry", "duty": "The box must be opened."}'),
    )
    schema: JsonObject = {
        "type": "object",
        "required": ["city", "tone", "duty"],
        "properties": {"city": {"type": "string"}, "tone": {"type": "string"}, "duty": {"type": "string"}},
    }
    told = user("Hello again. The door must be closed. Many thanks, you are great. Ship to: New York. Bye.")
    assert filled(schema, *shown, told) == {"city": "New York", "tone": "happy", "duty": "The door must be closed."}


def test_more_examples_make_it_better() -> None:
    def sure(count: int) -> float:
        pairs = [("parcel late", "delivery"), ("money back", "refund"), ("where is the courier", "delivery"), ("charged twice", "refund")]
        shown = [message for text, label in pairs[:count] for message in (user(text), assistant(dump_json({"intent": label})))]
        reply = ask(question(*shown, user("you charged me"), schema=INTENTS))
        return (reply.confidence or 0.0) * (1 if '"refund"' in reply.message.text else -1)

    assert sure(2) < sure(4)


def test_an_answer_with_sources_names_them_and_its_confidence() -> None:
    schema: JsonObject = {
        "type": "object",
        "required": ["answer", "sources", "confidence"],
        "properties": {
            "answer": {"type": "string"},
            "sources": {"type": "array", "items": {"type": "string"}},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        },
    }
    value = filled(schema, user("How long does a refund take?\n\n[returns.md] A refund takes a week.\n[shipping.md] Express costs 12 EUR."))
    assert isinstance(value, dict)
    assert value["answer"] == "A refund takes a week. [returns.md]"
    assert value["sources"] == ["returns.md"]
    assert 0.4 < float(str(value["confidence"])) < 1


def test_where_nothing_answers_it_says_so() -> None:
    schema: JsonObject = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string", "minLength": 1}}}
    reply = ask(question(user("Who painted the Mona Lisa?\n\n[a.md] Express costs 12 EUR."), schema=schema))
    assert "nothing" in reply.message.text
    assert reply.confidence == 0.02


def test_a_text_without_a_question_is_told_of_itself() -> None:
    schema: JsonObject = {"type": "object", "required": ["explanation"], "properties": {"explanation": {"type": "string", "minLength": 1}}}
    assert filled(schema, user("[price, outlier] Row 12 has '1.024,50'. The rest is smaller.")) == {"explanation": "Row 12 has '1.024,50'."}


def test_a_schema_that_nothing_satisfies_is_refused_openly() -> None:
    reply = ask(question(user("?"), schema={"allOf": [{"type": "string"}, {"type": "integer"}]}))
    assert reply.stop_reason is StopReason.REFUSAL


@pytest.mark.parametrize(
    "pattern", [r"^[A-Z]{2}-\d{3,5}$", r"^(USD|EUR) ?[0-9][0-9,]*(\.[0-9]{2})?$", r"\S", r"^a+b*c?$", r"^[^a-z]x\.y$", r"^(?:ab){2}\w\s\d$"]
)
def test_a_text_is_made_for_usual_patterns(pattern: str) -> None:
    assert re.search(pattern, matching(pattern))


NAMES = st.sampled_from(["name", "total", "items", "due_date", "summary", "id", "answer", "sources", "is_open", "kind"])
LEAVES = st.one_of(
    st.builds(lambda low: {"type": "string", "minLength": low, "maxLength": low + 40}, st.integers(0, 30)),
    st.just({"type": "string", "format": "date"}),
    st.just({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    st.builds(lambda low, step: {"type": "integer", "minimum": low, "maximum": low + step}, st.integers(-50, 50), st.integers(0, 5)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, st.integers(-50, 50)),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.lists(st.text("abcxyz ", min_size=1, max_size=8), min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values}),
    st.just({"oneOf": [{"const": "yes", "description": "agrees"}, {"const": "no", "description": "refuses"}]}),
    st.just({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[JsonObject]) -> JsonObject:
    properties = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required: list[JsonValue] = [*draw(st.sets(st.sampled_from(sorted(properties))))]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low, "maxItems": low + 2}, inner, st.integers(0, 2)),
    ),
    max_leaves=6,
)
TEXTS = st.sampled_from(
    [INVOICE, "Hello", "Order BX-1 of 3 May 2026: 3 x pump, 12.50 EUR. Is it open? Yes, agreed.", '{"total": 5, "items": [{"name": "x"}]}']
)


@settings(max_examples=150, deadline=None)
@given(schema=objects(SCHEMAS), text=TEXTS)
def test_an_answer_is_always_valid_under_its_schema_and_always_the_same(schema: JsonObject, text: str) -> None:
    asked = question(system("Fill the form."), user(text), schema=schema)
    reply = ask(asked)
    assert reply.stop_reason is StopReason.END_TURN
    assert compiled(schema).problems(parse_json(reply.message.text)) == ()
    assert ask(asked) == reply
