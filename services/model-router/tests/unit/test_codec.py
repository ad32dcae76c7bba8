"""Questions and answers cross the wire unchanged; what cannot be read is refused with its field."""

from dataclasses import replace

import pytest
from hypothesis import given
from model_router_samples import JSON, LOOKUP, MESSAGES, MODEL, NOON, REFERENCE, ROUTE, TEMPLATE, answer, call, unanswered
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.model_router.v1 import message_pb2, model_events_pb2, prompt_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.domain.calls import CompletedCall
from plimsoll_model_router.domain.choice import Aim, Standing, choose, of_route
from plimsoll_model_router.domain.endpoints import Feature
from plimsoll_model_router.domain.entries import Content, Entry, digest_of
from plimsoll_model_router.domain.generation import CachePolicy, CacheScope, Progress, TextDelta
from plimsoll_model_router.domain.messages import Message, ToolChoice
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Example
from plimsoll_model_router.domain.routes import Strategy
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.told import choice_to_plain
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_model_router.transport import codec, message_codec, registry_codec
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.wire import duration_to_proto, json_from_proto, json_to_proto


@given(MESSAGES)
def test_a_message_crosses_the_wire_unchanged(message: Message) -> None:
    sent = message_codec.message_to_proto(message).SerializeToString()
    assert message_codec.message_from_proto(message_pb2.Message.FromString(sent), "m") == message


@given(JSON)
def test_an_example_crosses_the_wire_unchanged(value: JsonValue) -> None:
    template = replace(TEMPLATE, examples=(Example(user="u", assistant=value),))
    wire = registry_codec.prompt_to_proto(Entry(content=template, version=1, created_at=NOON, digest=template.digest))
    bare = prompt_pb2.Prompt(
        name=wire.name, description=wire.description, variables=wire.variables, system=wire.system, examples=wire.examples, user=wire.user
    )
    assert registry_codec.template_from_proto(bare) == template


def test_a_generation_is_read_whole() -> None:
    read = codec.generation_from_proto(
        pb.Generation(
            request_key="k",
            prompt=prompt_pb2.PromptReference(name="support-classify", label="production"),
            variables=json_pb2.JsonValue(text='{"a": 1}'),
            tools=[
                message_pb2.ToolDefinition(
                    name=LOOKUP.name, description=LOOKUP.description, arguments_schema=json_to_proto(LOOKUP.arguments_schema)
                )
            ],
            tool_choice=message_pb2.TOOL_CHOICE_REQUIRED,
            output_schema=json_pb2.JsonValue(text="{}"),
            task="t",
            max_output_tokens=5,
            max_cost_micros=7,
        )
    )
    assert (read.request_key, read.prompt, read.variables, read.tools) == ("k", REFERENCE, {"a": 1}, (LOOKUP,))
    assert (read.tool_choice, read.output_schema, read.max_output_tokens, read.max_cost_micros) == (ToolChoice.REQUIRED, {}, 5, 7)


def test_absent_and_empty_are_told_apart() -> None:
    read = codec.generation_from_proto(pb.Generation())
    assert (read.prompt, read.output_schema, read.tool_choice) == (None, None, ToolChoice.AUTO)


@pytest.mark.parametrize(
    ("reference", "selector"),
    [
        (prompt_pb2.PromptReference(name="p", label="l"), ByLabel(label="l")),
        (prompt_pb2.PromptReference(name="p", version=3), ByVersion(version=3)),
        (prompt_pb2.PromptReference(name="p", digest="d"), ByDigest(digest="d")),
    ],
)
def test_a_reference_selects_in_three_ways(reference: prompt_pb2.PromptReference, selector: ByLabel | ByVersion | ByDigest) -> None:
    assert codec.reference_from_proto(reference, "prompt").selector == selector


@pytest.mark.parametrize(
    ("generation", "field"),
    [
        (pb.Generation(variables=json_pb2.JsonValue(text="[1]")), "generation.variables"),
        (pb.Generation(output_schema=json_pb2.JsonValue(text="{")), "generation.output_schema"),
        (pb.Generation(prompt=prompt_pb2.PromptReference(name="p")), "generation.prompt.selector"),
        (pb.Generation(prompt=prompt_pb2.PromptReference(label="l")), "generation.prompt.name"),
        (pb.Generation(messages=[message_pb2.Message()]), "generation.messages[0].role"),
        (
            pb.Generation(messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part()])]),
            "generation.messages[0].parts[0]",
        ),
        (pb.Generation(cache=pb.CachePolicy(scope=99)), "generation.cache.scope"),  # type: ignore[arg-type] # as a newer peer may send
        (pb.Generation(tool_choice=99), "generation.tool_choice"),  # type: ignore[arg-type] # as a newer peer may send
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field(generation: pb.Generation, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        codec.generation_from_proto(generation)
    assert caught.value.problems[0].field == field
    assert caught.value.problems[0].remedy


def test_what_the_service_sets_itself_is_not_taken_from_a_request() -> None:
    with pytest.raises(Invalid, match=r"prompt\.version"):
        registry_codec.template_from_proto(prompt_pb2.Prompt(name="p", version=7))


def test_an_answer_is_told_whole() -> None:
    wire = codec.outcome_to_proto(answer()).answer
    assert json_from_proto(wire.output, "output") == answer().output
    assert (wire.usage.input_tokens, wire.usage.cost_micros, wire.confidence) == (10, 7, 0.5)
    assert [attempt.failure.category for attempt in wire.attempts] == [failure_pb2.FAILURE_CATEGORY_RATE_LIMITED, 0]
    assert not wire.attempts[1].HasField("failure")
    assert codec.outcome_to_proto(replace(answer(), confidence=None)).answer.confidence == -1
    assert not codec.outcome_to_proto(replace(answer(), has_output=False)).answer.HasField("output")
    assert codec.outcome_to_proto(replace(answer(), output=None)).answer.HasField("output")


def test_a_stream_names_its_attempt_in_every_event() -> None:
    assert codec.step_to_proto(Progress(attempt=2, delta=TextDelta(text="x"))).attempt == 2
    assert codec.step_to_proto(answer()).attempt == 2
    assert codec.step_to_proto(unanswered()).WhichOneof("event") == "failure"


def event_of(told: CompletedCall) -> model_events_pb2.ModelCallCompleted:
    return model_events_pb2.ModelCallCompleted.FromString(codec.completed_to_bytes("e", told, choice_to_plain(told.choice)))


def test_the_event_of_a_call_tells_what_feedback_needs() -> None:
    event = event_of(call())
    assert (event.event_id, event.tenant, event.call_id, event.work.node) == ("e", "acme", "call_1", "classify")
    assert (event.provider, event.model, event.attempts, event.usage.cost_micros) == ("openai", "m-1", 2, 7)
    assert not event.HasField("failure")
    failed = event_of(call(outcome=unanswered()))
    assert failed.failure.category == failure_pb2.FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE
    assert failed.confidence == -1


def test_a_model_without_a_price_says_so() -> None:
    assert not registry_codec.model_to_proto(Model(provider="p", name="m"), None, available=True).priced
    price = Price(input_micros=1, output_micros=2, cached_input_micros=0)
    told = registry_codec.model_to_proto(Model(provider="p", name="m", price=price, price_source="v1"), 0.25, available=False)
    assert (told.output_price_micros, told.price_source, told.latency.nanos, told.available) == (2, "v1", 250_000_000, False)
    assert Feature.IMAGES.name in {routing_pb2.ModelFeature.Name(code).removeprefix("MODEL_FEATURE_") for code in told.features}


@pytest.mark.parametrize("content", [ROUTE, MODEL, TEMPLATE])
def test_an_entry_is_told_whole(content: Content) -> None:
    entry = Entry(content=content, version=3, digest=digest_of(content), created_at=NOON, created_by="ann", labels=("production",))
    told = registry_codec.entry_to_proto(entry)
    assert (told.name, told.version, told.digest, told.created_by, list(told.labels)) == (
        content.name, 3, entry.digest, "ann", ["production"],
    )  # fmt: skip
    match told.WhichOneof("content"):
        case "route":
            assert registry_codec.route_from_proto(told.route) == content
        case "model":
            assert registry_codec.model_entry_from_proto(told.model) == content
        case _:
            assert told.prompt.system == "You sort the messages of a shop."


def test_leave_to_cache_and_the_way_of_delivery_are_read() -> None:
    leave = pb.CachePolicy(max_age=duration_to_proto(90.0), scope=pb.CACHE_SCOPE_AGENT)
    assert codec.generation_from_proto(pb.Generation(cache=leave)).cache == CachePolicy(max_age_s=90.0, scope=CacheScope.AGENT)
    assert codec.generation_from_proto(pb.Generation()).cache is None
    assert codec.delivery_from_proto(pb.DELIVERY_UNSPECIFIED) is Delivery.RETRACTABLE
    assert codec.delivery_from_proto(pb.DELIVERY_STRICT) is Delivery.STRICT
    with pytest.raises(Invalid, match="delivery"):
        codec.delivery_from_proto(99)


def test_the_event_tells_the_choice_with_its_probabilities() -> None:
    candidates = [Candidate(model=Model(provider="p", name=name), ask_for=name) for name in "ab"]
    route = replace(ROUTE, strategy=Strategy.WEIGHTED, max_output_price_micros=0)
    choice = of_route(choose(candidates, route, Aim(), {"p/a": Standing(latency_s=0.5)}, draw=0.9), "classification", 4, "d")
    event = event_of(replace(call(), choice=choice, key="key_1"))
    assert (event.choice.route, event.choice.route_digest, event.key, event.priced) == ("classification@4", "d", "key_1", True)
    assert [(one.model, one.probability, one.latency.nanos) for one in event.choice.candidates] == [("b", 0.5, 0), ("a", 0.5, 500_000_000)]
