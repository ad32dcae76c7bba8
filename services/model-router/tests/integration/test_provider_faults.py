"""Faults on demand through the whole service: who rescues the call, what the caller hears, and what the budget pays."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from model_router_misfortunes import Misfortunes
from model_router_rooms import plain, running, settings_for, with_providers
from plimsoll.model_router.v1 import budget_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_model_router.config import BreakerSettings, Settings
from plimsoll_runtime.faults import FaultKind
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_testkit.upstream import ANSWER, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually

TENANT_BUDGET = budget_pb2.Budget(scope=budget_pb2.BUDGET_SCOPE_TENANT, period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=1_000_000)
USED = 25 + 12  # what one answer of the scripted upstream takes
REASONS = {
    FaultKind.ERROR: "PROVIDER_ERROR",
    FaultKind.TIMEOUT: "PROVIDER_TIMEOUT",
    FaultKind.CUT: "ANSWER_CUT",
    FaultKind.MALFORMED: "MALFORMED_ANSWER",
}
BILLED = {FaultKind.CUT, FaultKind.MALFORMED}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    """No breaker opens: what is looked at is each fault."""
    return replace(settings_for(postgres_dsn, nats_url, redis_url), breaker=BreakerSettings(failures=1000))


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Misfortunes]:
    found = Misfortunes(tmp_path)
    with found.possible():
        yield found


async def settled(stub: "rpc.ModelRouterServiceAsyncStub", spent: int) -> None:
    """Until the budget says that exactly so much was spent and nothing is held."""

    async def is_so() -> bool:
        [status] = (await call(stub.ListBudgets, pb.ListBudgetsRequest(), cap_s=60)).budgets
        return bool((status.spent_tokens, status.reserved_tokens) == (spent, 0))

    await eventually(is_so)


async def test_each_fault_at_one_provider_is_rescued_by_the_other_and_only_what_was_given_is_paid(
    settings: Settings, upstream: ScriptedUpstream, faults: Misfortunes
) -> None:
    spent = 0
    async with running(with_providers(settings, upstream, "fine", "fine")) as stub:
        await call(stub.SetBudget, pb.SetBudgetRequest(budget=TENANT_BUDGET), cap_s=60)
        for kind, reason in REASONS.items():
            seen = len(upstream.attempts)
            with faults.meeting(kind, "anthropic", count=2):
                answer = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).answer
            assert (answer.message.parts[0].text.text, answer.provider) == (ANSWER, "openai")
            failed = [attempt for attempt in answer.attempts if attempt.HasField("failure")]
            assert {attempt.failure.reason for attempt in failed} == {reason}
            assert len(upstream.attempts) - seen == (1 + len(failed) if kind in BILLED else 1)
            spent += USED * (1 + len(failed) if kind in BILLED else 1)
            assert answer.usage.input_tokens + answer.usage.output_tokens == (USED * (1 + len(failed)) if kind in BILLED else USED)
        await settled(stub, spent)


async def test_a_stream_that_is_cut_is_heard_whole_from_the_other(
    settings: Settings, upstream: ScriptedUpstream, faults: Misfortunes
) -> None:
    async with running(with_providers(settings, upstream, "fine", "fine")) as stub:
        for kind in sorted(BILLED):
            asked = pb.GenerateStreamRequest(generation=plain("Hello?"))
            with faults.meeting(kind, "anthropic", count=2):
                events = [event async for event in stream(stub.GenerateStream, asked, cap_s=60)]
            last = events[-1]
            assert (last.answer.provider, last.answer.message.parts[0].text.text) == ("openai", ANSWER)
            assert "".join(event.text for event in events if event.attempt == last.attempt) == ANSWER
            voided = "".join(event.text for event in events if event.attempt == 1)
            assert ANSWER.startswith(voided)
            assert 0 < len(voided) < len(ANSWER)


async def test_the_built_in_model_meets_them_too_and_a_call_that_nobody_answers_pays_for_what_was_given(
    settings: Settings, faults: Misfortunes
) -> None:
    async with running(settings) as stub:
        await call(stub.SetBudget, pb.SetBudgetRequest(budget=TENANT_BUDGET), cap_s=60)
        with faults.meeting(FaultKind.CUT, "rehearsal", count=0):
            failure = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).failure
        assert failure.failure.reason == "ANSWER_CUT"
        assert len(failure.attempts) == 3
        paid = sum(attempt.usage.input_tokens + attempt.usage.output_tokens for attempt in failure.attempts)
        assert paid > 0
        await settled(stub, paid)
        with faults.meeting(FaultKind.ERROR, "rehearsal", count=0):
            refused = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).failure
        assert refused.failure.reason == "PROVIDER_ERROR"
        await settled(stub, paid)


async def test_a_key_whose_answer_was_lost_is_free_again_and_then_remembers(settings: Settings, faults: Misfortunes) -> None:
    asked = plain("How long does a refund take?")
    asked.request_key = "k"
    async with running(settings) as stub:
        with faults.meeting(FaultKind.CUT, "rehearsal", count=3):
            lost = await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)
        assert lost.failure.failure.retryable
        first = (await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)).answer
        again = (await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)).answer
        assert (first.recorded, again.recorded, again.message) == (False, True, first.message)


async def test_vectors_are_made_again_when_they_were_lost(settings: Settings, faults: Misfortunes) -> None:
    asked = pb.EmbedRequest(texts=["Where is my parcel?"])
    async with running(settings) as stub:
        wanted = (await call(stub.Embed, asked, cap_s=60)).embeddings
        for kind in (FaultKind.ERROR, FaultKind.CUT, FaultKind.MALFORMED):
            with faults.meeting(kind, "rehearsal"):
                made = (await call(stub.Embed, asked, cap_s=60)).embeddings
            assert (made.vectors, len(made.attempts)) == (wanted.vectors, 2)
