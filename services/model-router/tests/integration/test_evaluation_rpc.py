"""What feedback needs: calls as they were asked and answered, and questions asked again to judge a prompt or a model."""

import asyncio

import pytest
from model_router_rooms import PROMPT, Stub, classify, plain, running, settings_for
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.model_router.v1 import budget_pb2, message_pb2, prompt_pb2, registry_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.config import Settings
from plimsoll_model_router.domain.generation import Purpose
from plimsoll_model_router.errors import EvaluationDenied
from plimsoll_model_router.transport.grpc import generation_of
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Invalid, NotFound
from plimsoll_runtime.json_types import dump_json, parse_json
from plimsoll_runtime.rpc_client import call
from plimsoll_testkit.waiting import eventually


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


async def ask(stub: Stub, generation: pb.Generation) -> pb.Answer:
    response: pb.GenerateResponse = await call(stub.Generate, pb.GenerateRequest(generation=generation), cap_s=60)
    assert response.HasField("answer"), response
    return response.answer


async def kept(stub: Stub, call_id: str) -> pb.GetCallResponse:
    response: pb.GetCallResponse = await call(stub.GetCall, pb.GetCallRequest(call_id=call_id), cap_s=60)
    return response


def in_a_loop() -> pb.Generation:
    """A turn of an agent: a prompt, what was said and found so far, tools to choose from."""
    asked = classify("I want my money back", key="turn-1").generation
    called = message_pb2.ToolCallPart(call_id="c1", tool="find_order", arguments=json_pb2.JsonValue(text='{"id":7}'))
    found = message_pb2.ToolResultPart(call_id="c1", tool="find_order", content=json_pb2.JsonValue(text='{"state":"lost"}'))
    asked.messages.add(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(tool_call=called)])
    asked.messages.add(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=found)])
    schema = json_pb2.JsonValue(text='{"properties":{"id":{"type":"integer"}},"type":"object"}')
    asked.tools.add(name="find_order", description="Finds an order.", arguments_schema=schema)
    asked.work.CopyFrom(work_pb2.WorkContext(run_id="run_1", step=3, node="solve", agent="support"))
    return asked


async def test_a_call_is_given_back_as_it_was_asked_and_answered_ready_to_be_asked_again(settings: Settings) -> None:
    async with running(settings) as stub:
        prompt = (await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)).prompt
        asked = in_a_loop()
        answer = await ask(stub, asked)
        told = await kept(stub, answer.call_id)
        assert (told.prompt_name, told.prompt_version, told.prompt_digest) == ("support-classify", 1, prompt.digest)
        assert (told.task, told.purpose, told.confidence, told.rehearsal) == (asked.task, pb.PURPOSE_PRODUCTION, answer.confidence, True)
        assert (told.usage, told.work.step, told.duration.ToTimedelta().total_seconds() > 0) == (answer.usage, 3, True)
        assert (told.answer.message, told.answer.output, told.answer.stop_reason) == (answer.message, answer.output, answer.stop_reason)
        assert 86_000 < told.keep_until_time.seconds - told.start_time.seconds < 87_000
        again = told.generation
        assert (again.prompt.digest, again.request_key) == (prompt.digest, "")
        for name in ("variables", "messages", "tools", "output_schema", "task", "work"):
            assert getattr(again, name) == getattr(asked, name), name
        repeated = await ask(stub, again)
        assert (repeated.output, repeated.recorded) == (answer.output, False)
        with acting_for("umbrella"), pytest.raises(NotFound):
            await kept(stub, answer.call_id)


async def test_what_failed_is_kept_with_its_question(settings: Settings) -> None:
    async with running(settings) as stub:
        outcome = await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", "rehearsal-refuse")), cap_s=60)
        told = await kept(stub, outcome.failure.call_id)
        assert (told.generation.messages[0].parts[0].text.text, told.HasField("answer")) == ("Hello?", False)
        assert told.failure.reason == outcome.failure.failure.reason


async def test_a_candidate_that_is_not_registered_is_evaluated_without_a_trace_in_the_registry(settings: Settings) -> None:
    async with running(settings) as stub:
        await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)
        told = await kept(stub, (await ask(stub, classify("Where is my parcel?").generation)).call_id)
        candidate = prompt_pb2.Prompt()
        candidate.CopyFrom(PROMPT)
        candidate.examples.add(user="Where is my parcel, please?", assistant=json_pb2.JsonValue(text='{"intent":"refund"}'))
        again = told.generation
        again.ClearField("prompt")
        again.candidate_prompt.CopyFrom(candidate)
        with pytest.raises(Invalid, match="EVALUATION"):
            await ask(stub, again)
        again.purpose = pb.PURPOSE_EVALUATION
        again.variables.text = dump_json({"message": "Where is my parcel, please?"})
        judged = await ask(stub, again)
        assert parse_json(judged.output.text) == {"intent": "refund"}
        judged_call = await kept(stub, judged.call_id)
        assert (judged_call.purpose, judged_call.prompt_name, judged_call.prompt_version) == (pb.PURPOSE_EVALUATION, PROMPT.name, 0)
        assert judged_call.prompt_digest == judged.prompt_digest != told.prompt_digest
        versions = pb.ListEntriesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=PROMPT.name)
        assert len((await call(stub.ListEntries, versions, cap_s=60)).entries) == 1
        registered = await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=candidate), cap_s=60)
        assert registered.prompt.digest == judged.prompt_digest
        again.ClearField("candidate_prompt")
        again.prompt.name, again.prompt.digest = PROMPT.name, registered.prompt.digest
        assert (await ask(stub, again)).output == judged.output


async def test_bad_candidates_are_refused_with_field_and_remedy(settings: Settings) -> None:
    async with running(settings) as stub:
        asked = classify("Hello?").generation
        asked.purpose = pb.PURPOSE_EVALUATION
        asked.candidate_prompt.CopyFrom(PROMPT)
        with pytest.raises(Invalid, match=r"generation\.candidate_prompt.*send one of the two"):
            await ask(stub, asked)
        asked.ClearField("prompt")
        asked.candidate_prompt.user = "{{nobody}}"
        with pytest.raises(Invalid, match=r"prompt\.variables.*nobody"):
            await ask(stub, asked)
        asked.candidate_prompt.CopyFrom(PROMPT)
        asked.variables.text = "{}"
        with pytest.raises(Invalid, match=r"variables\.message: is missing"):
            await ask(stub, asked)
        asked.model_digest = "0" * 64
        with pytest.raises(Invalid, match=r"generation\.model_digest"):
            await ask(stub, asked)
        asked.purpose = 9  # type: ignore[assignment]
        with pytest.raises(Invalid, match=r"generation\.purpose"):
            await ask(stub, asked)


async def test_one_version_of_a_model_entry_is_asked_whatever_its_labels_say(settings: Settings) -> None:
    async with running(settings) as stub:

        async def register(context: int) -> str:
            model = routing_pb2.ModelEntry(name="fast", provider="rehearsal", model="rehearsal", context_tokens=context)
            entry = (await call(stub.RegisterModel, pb.RegisterModelRequest(model=model), cap_s=60)).entry
            return str(entry.digest)

        small, large = await register(50), await register(5000)
        asked = plain("How long does a refund take? " * 20, "fast")
        asked.purpose = pb.PURPOSE_EVALUATION
        asked.model_digest = large
        told = await kept(stub, (await ask(stub, asked)).call_id)
        assert (told.model_digest, len(told.choice.candidates)) == (large, 1)
        asked.model_digest = small
        refused = (await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)).failure
        assert refused.failure.reason == "CONTEXT_TOO_LONG"
        asked.model_digest = "0" * 64
        with pytest.raises(NotFound, match="fast@sha256:0000"):
            await ask(stub, asked)


async def test_evaluations_spend_their_own_budget_and_leave_productions_alone(settings: Settings) -> None:
    async with running(settings) as stub:
        for scope in (budget_pb2.BUDGET_SCOPE_TENANT, budget_pb2.BUDGET_SCOPE_EVALUATION):
            budget = budget_pb2.Budget(scope=scope, period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=20_000)
            await call(stub.SetBudget, pb.SetBudgetRequest(budget=budget), cap_s=60)
        asked = plain("How long does a refund take?")
        asked.max_output_tokens = 100
        asked.purpose = pb.PURPOSE_EVALUATION
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(ask(stub, asked))

        async def settled() -> bool:
            budgets = (await call(stub.ListBudgets, pb.ListBudgetsRequest(), cap_s=60)).budgets
            production, evaluation = sorted(budgets, key=lambda status: status.budget.scope)
            assert (production.spent_tokens, production.reserved_tokens) == (0, 0)
            return 0 < evaluation.spent_tokens < 20_000 and not evaluation.reserved_tokens

        await eventually(settled)


async def test_an_answer_cached_in_an_evaluation_is_none_for_production(settings: Settings) -> None:
    async with running(settings) as stub:
        asked = plain("How long does a refund take?")
        asked.cache.max_age.seconds = 600
        asked.purpose = pb.PURPOSE_EVALUATION
        assert [(await ask(stub, asked)).cached for _ in range(2)] == [False, True]
        asked.purpose = pb.PURPOSE_PRODUCTION
        assert not (await ask(stub, asked)).cached


@pytest.mark.parametrize("service", ["gateway", "orchestrator", "memory"])
def test_nobody_but_feedback_takes_a_call_out_of_its_callers_budgets(service: str) -> None:
    asked = plain("Hello?")
    asked.purpose = pb.PURPOSE_EVALUATION
    with acting_for("acme", service="feedback"):
        assert generation_of(asked).purpose is Purpose.EVALUATION
    with acting_for("acme", service=service), pytest.raises(EvaluationDenied, match="as an evaluation"):
        generation_of(asked)
