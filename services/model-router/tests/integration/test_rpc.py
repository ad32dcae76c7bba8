"""The whole service on real servers, over gRPC."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from model_router_rooms import PROMPT, classify, plain, running, settings_for, with_providers
from plimsoll.common.v1 import failure_pb2
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.adapters.postgres_ledger import COMPLETED
from plimsoll_model_router.config import Settings
from plimsoll_runtime.bus import ConsumerSpec, Message, open_bus, service_stream
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Conflict, Invalid, NotFound
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.settings import NatsSettings, Secret
from plimsoll_testkit.upstream import ANSWER, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


async def test_a_prompt_is_registered_used_and_listed(settings: Settings) -> None:
    async with running(settings) as stub:
        registered = await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)
        assert (registered.created, registered.prompt.version, list(registered.prompt.labels)) == (True, 1, ["production"])
        answer = (await call(stub.Generate, classify("I want my money back"), cap_s=60)).answer
        assert answer.output.text == '{"intent":"refund"}'
        assert (answer.provider, answer.model, answer.rehearsal) == ("rehearsal", "rehearsal", True)
        assert answer.prompt_digest == registered.prompt.digest
        assert 0 < answer.confidence < 1
        listed = await call(stub.ListPrompts, pb.ListPromptsRequest(page_size=1), cap_s=60)
        assert [prompt.name for prompt in listed.prompts] == ["support-classify"]
        rest = await call(stub.ListPrompts, pb.ListPromptsRequest(page_size=1, page_token=listed.next_page_token), cap_s=60)
        assert list(rest.prompts) == []
        [model] = (await call(stub.ListModels, pb.ListModelsRequest(), cap_s=60)).models
        assert (model.name, model.rehearsal, model.priced) == ("rehearsal", True, True)


async def test_a_repeat_under_its_request_key_is_recorded_even_over_a_restart(settings: Settings) -> None:
    async with running(settings) as stub:
        await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)
        first = (await call(stub.Generate, classify("I want my money back", key="k"), cap_s=60)).answer
    async with running(settings) as stub:
        again = (await call(stub.Generate, classify("I want my money back", key="k"), cap_s=60)).answer
        assert (first.recorded, again.recorded) == (False, True)
        assert again.output == first.output
        with pytest.raises(Conflict, match="request key"):
            await call(stub.Generate, classify("Where is it?", key="k"), cap_s=60)
        with acting_for("umbrella"), pytest.raises(NotFound):
            await call(stub.Generate, classify("I want my money back", key="k"), cap_s=60)


async def test_a_stream_brings_the_text_and_then_the_answer(settings: Settings) -> None:
    async with running(settings) as stub:
        asked = plain("How long does a refund take?\n\n[returns.md] A refund takes a week after the goods are back with us.")
        events = [event async for event in stream(stub.GenerateStream, pb.GenerateStreamRequest(generation=asked), cap_s=60)]
        assert "".join(event.text for event in events) == events[-1].answer.message.parts[0].text.text
        assert "[returns.md]" in events[-1].answer.message.parts[0].text.text
        assert {event.attempt for event in events} == {1}


async def test_a_failure_is_a_value_with_its_attempts(settings: Settings) -> None:
    async with running(settings) as stub:
        failed = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "rehearsal-fail")), cap_s=60)).failure
        assert failed.failure.category == failure_pb2.FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE
        assert len(failed.attempts) == 3
        refused = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "rehearsal-refuse")), cap_s=60)).failure
        assert refused.failure.category == failure_pb2.FAILURE_CATEGORY_MODEL_REFUSED


async def test_what_cannot_be_asked_is_refused_with_field_and_remedy(settings: Settings) -> None:
    async with running(settings) as stub:
        with pytest.raises(NotFound, match="rehearsal/rehearsal") as unknown:
            await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "gpt-nonsense")), cap_s=60)
        assert unknown.value.reason == "UNKNOWN_MODEL"
        with pytest.raises(Invalid) as empty:
            await call(stub.Generate, pb.GenerateRequest(), cap_s=60)
        assert (empty.value.problems[0].field, bool(empty.value.problems[0].remedy)) == ("generation.prompt", True)
        with pytest.raises(Invalid, match="page_size"):
            await call(stub.ListPrompts, pb.ListPromptsRequest(page_size=-1), cap_s=60)


async def test_every_call_is_announced_once(settings: Settings, nats_url: str) -> None:
    heard: list[Message] = []

    async def hear(batch: Sequence[Message]) -> None:
        heard.extend(batch)

    async with open_bus(NatsSettings(url=Secret(nats_url)), "listener", Metrics()) as bus, running(settings) as stub:
        await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)
        await call(stub.Generate, classify("I want my money back", key="k"), cap_s=60)
        await call(stub.Generate, classify("I want my money back", key="k"), cap_s=60)
        await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "rehearsal-refuse")), cap_s=60)
        stop = asyncio.Event()
        spec = ConsumerSpec(stream=service_stream("model-router"), durable="listener", subjects=(COMPLETED,))
        async with asyncio.TaskGroup() as group:
            group.create_task(bus.consume(spec, hear, stop))
            await eventually(lambda: len(heard) >= 2)
            stop.set()
    told = [model_events_pb2.ModelCallCompleted.FromString(message.payload) for message in heard]
    assert [(event.work.node, event.prompt_name, event.HasField("failure")) for event in told] == [
        ("classify", "support-classify", False),
        ("", "", True),
    ]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


async def test_configured_providers_answer_and_the_next_one_takes_over(settings: Settings, upstream: ScriptedUpstream) -> None:
    async with running(with_providers(settings, upstream, "overloaded", "fine")) as stub:
        answer = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).answer
        assert (answer.message.parts[0].text.text, answer.provider, answer.rehearsal) == (ANSWER, "openai", False)
        assert [attempt.provider for attempt in answer.attempts] == ["anthropic", "openai"]
        assert answer.usage.cost_micros == 25 + 24
        models = (await call(stub.ListModels, pb.ListModelsRequest(), cap_s=60)).models
        assert [(model.provider, model.priced) for model in models] == [("anthropic", False), ("openai", True), ("rehearsal", True)]


async def test_a_stream_cut_by_one_provider_is_started_anew_by_another(settings: Settings, upstream: ScriptedUpstream) -> None:
    async with running(with_providers(settings, upstream, "cut-once", "fine")) as stub:
        events = [event async for event in stream(stub.GenerateStream, pb.GenerateStreamRequest(generation=plain("Hello?")), cap_s=60)]
        assert events[-1].answer.message.parts[0].text.text == ANSWER
        assert "".join(event.text for event in events if event.attempt == events[-1].attempt) == ANSWER
        assert events[-1].attempt == 2


async def test_the_rehearsal_model_never_steps_in_for_a_provider_that_fails(settings: Settings, upstream: ScriptedUpstream) -> None:
    async with running(with_providers(settings, upstream, "bad-key", "quota")) as stub:
        failed = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).failure
        assert [attempt.provider for attempt in failed.attempts] == ["anthropic", "openai"]
        assert failed.failure.category == failure_pb2.FAILURE_CATEGORY_UPSTREAM_REJECTED
        asked = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "rehearsal")), cap_s=60)).answer
        assert asked.rehearsal
