"""Registry, budgets and routes over gRPC, on real servers and between replicas."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from model_router_rooms import PROMPT, Stub, classify, plain, running, settings_for
from plimsoll.common.v1 import failure_pb2, work_pb2
from plimsoll.feedback.v1 import evaluation_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as feedback_rpc
from plimsoll.model_router.v1 import budget_pb2, prompt_pb2, registry_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.adapters.feedback_reports import content_digest
from plimsoll_model_router.config import Settings
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.ports import free_address
from plimsoll_testkit.waiting import eventually

T = TypeVar("T")
LABEL = "production"


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


def system(text: str) -> prompt_pb2.Prompt:
    changed = prompt_pb2.Prompt()
    changed.CopyFrom(PROMPT)
    changed.system = text
    return changed


def at(version: int, kind: registry_pb2.EntryKind.ValueType = registry_pb2.ENTRY_KIND_PROMPT) -> registry_pb2.EntryReference:
    return registry_pb2.EntryReference(kind=kind, name=PROMPT.name, version=version)


async def register(stub: Stub, prompt: prompt_pb2.Prompt, *labels: str) -> prompt_pb2.Prompt:
    response: pb.RegisterPromptResponse = await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=prompt, labels=labels), cap_s=60)
    return response.prompt


class Feedback(feedback_rpc.EvaluationServiceServicer):
    """Feedback, as far as the router asks it; all its reports are of the tenant acme."""

    def __init__(self) -> None:
        self.reports: dict[str, feedback_pb.EvaluationReport] = {}

    def evaluated(self, candidate: str, baseline: str, verdict: feedback_pb.EvaluationVerdict.ValueType) -> str:
        """A report; returns its digest."""
        report = feedback_pb.EvaluationReport(
            subject=feedback_pb.EVALUATION_SUBJECT_PROMPT,
            name=PROMPT.name,
            candidate_digest=candidate,
            baseline_digest=baseline,
            verdict=verdict,
            examples=50,
        )
        report.digest = content_digest(report)
        self.reports[report.digest] = report
        return report.digest

    async def GetEvaluationReport(  # noqa: N802 - the contract's name
        self, request: feedback_pb.GetEvaluationReportRequest, context: grpc.aio.ServicerContext
    ) -> feedback_pb.GetEvaluationReportResponse:
        if request.digest not in self.reports or ("plimsoll-tenant", "acme") not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such report")
        return feedback_pb.GetEvaluationReportResponse(report=self.reports[request.digest])


@asynccontextmanager
async def feedback_serving() -> AsyncIterator[tuple[Feedback, str]]:
    server, feedback = grpc.aio.server(), Feedback()
    feedback_rpc.add_EvaluationServiceServicer_to_server(feedback, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield feedback, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_a_protected_label_moves_with_feedbacks_report_alone(settings: Settings) -> None:
    async with feedback_serving() as (feedback, address), running(replace(settings, feedback_address=address), principal="ann") as stub:
        first, second = await register(stub, PROMPT, LABEL), await register(stub, system("Be brief."))
        with pytest.raises(Denied, match="protected"):
            await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL), cap_s=60)
        failed = feedback.evaluated(second.digest, first.digest, feedback_pb.EVALUATION_VERDICT_FAILED)
        for digest, reason in ((failed, "verdict is failed"), ("f" * 64, "knows no evaluation report")):
            with pytest.raises(Denied, match=reason):
                await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest=digest), cap_s=60)
        passed = feedback.evaluated(second.digest, first.digest, feedback_pb.EVALUATION_VERDICT_PASSED)
        feedback.reports[passed].examples = 1  # no longer what its digest says
        with pytest.raises(Denied, match="digest does not fit"):
            await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest=passed), cap_s=60)
        feedback.reports[passed].examples = 50
        moved = await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest=passed), cap_s=60)
        assert (moved.moved, moved.move.grounds, moved.move.moved_by) == (True, registry_pb2.MOVE_GROUNDS_REPORT, "ann")
        back = await call(
            stub.RollBackLabel, pb.RollBackLabelRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=PROMPT.name, label=LABEL), cap_s=60
        )
        assert (back.move.from_version, back.move.to_version) == (2, 1)
        with pytest.raises(Conflict, match="no earlier version"):
            await call(
                stub.RollBackLabel, pb.RollBackLabelRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=PROMPT.name, label=LABEL), cap_s=60
            )
        override = pb.OverrideLabelRequest(target=at(2), label=LABEL, reason="The shop is on fire.")
        assert (await call(stub.OverrideLabel, override, cap_s=60)).move.grounds == registry_pb2.MOVE_GROUNDS_OVERRIDE
        listed = await call(stub.ListLabelMoves, pb.ListLabelMovesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, page_size=2), cap_s=60)
        rest = await call(
            stub.ListLabelMoves,
            pb.ListLabelMovesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, page_token=listed.next_page_token),
            cap_s=60,
        )
        told = [(move.from_version, move.to_version, move.reason) for move in [*listed.moves, *rest.moves]]
        assert told == [(1, 2, "The shop is on fire."), (2, 1, ""), (1, 2, ""), (0, 1, "")]


async def test_a_report_of_another_tenant_moves_nothing_though_it_is_about_the_same_content(settings: Settings) -> None:
    async with feedback_serving() as (feedback, address), running(replace(settings, feedback_address=address)) as stub:
        with acting_for("umbrella"):
            first, second = await register(stub, PROMPT, LABEL), await register(stub, system("Be brief."))
            passed = feedback.evaluated(second.digest, first.digest, feedback_pb.EVALUATION_VERDICT_PASSED)
            with pytest.raises(Denied, match="knows no evaluation report"):
                await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest=passed), cap_s=60)
        assert [one.digest for one in (await register(stub, PROMPT, LABEL), await register(stub, system("Be brief.")))] == [
            first.digest,
            second.digest,
        ]
        moved = await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest=passed), cap_s=60)
        assert moved.moved


async def test_while_feedback_cannot_answer_no_protected_label_moves(settings: Settings) -> None:
    nowhere = free_address()
    async with running(replace(settings, feedback_address=nowhere)) as stub:
        await register(stub, PROMPT, LABEL)
        await register(stub, system("Be brief."))
        with pytest.raises(Unavailable) as refused:
            await call(stub.MoveLabel, pb.MoveLabelRequest(target=at(2), label=LABEL, report_digest="f" * 64), cap_s=60)
        assert refused.value.reason == "REPORT_UNVERIFIED"
        kept = await call(
            stub.GetPrompt, pb.GetPromptRequest(reference=prompt_pb2.PromptReference(name=PROMPT.name, label=LABEL)), cap_s=60
        )
        assert kept.prompt.version == 1


async def test_entries_are_read_listed_and_compared(settings: Settings) -> None:
    async with running(settings) as stub:
        await register(stub, PROMPT, LABEL)
        await register(stub, system("Be brief."))
        entry = (await call(stub.GetEntry, pb.GetEntryRequest(reference=at(1)), cap_s=60)).entry
        assert (entry.prompt.system, list(entry.labels)) == (PROMPT.system, [LABEL])
        page = await call(
            stub.ListEntries, pb.ListEntriesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=PROMPT.name, page_size=1), cap_s=60
        )
        rest = await call(
            stub.ListEntries,
            pb.ListEntriesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=PROMPT.name, page_token=page.next_page_token),
            cap_s=60,
        )
        assert [one.version for one in [*page.entries, *rest.entries]] == [2, 1]
        found = (await call(stub.DiffEntries, pb.DiffEntriesRequest(before=at(1), after=at(2)), cap_s=60)).differences
        assert [(one.field, one.after) for one in found] == [("system", '"Be brief."')]
        with pytest.raises(NotFound):
            await call(stub.GetEntry, pb.GetEntryRequest(reference=at(3)), cap_s=60)
        with pytest.raises(Invalid, match=r"reference\.kind"):
            await call(stub.GetEntry, pb.GetEntryRequest(reference=registry_pb2.EntryReference(name="x")), cap_s=60)
        with pytest.raises(Invalid, match="page_token"):
            await call(stub.ListLabelMoves, pb.ListLabelMovesRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, page_token="x"), cap_s=60)


async def _is(probe: Callable[[], Awaitable[T]], wanted: T) -> bool:
    return await probe() == wanted


async def test_a_move_reaches_the_other_replica(settings: Settings) -> None:
    async with running(settings) as one, running(settings) as other:

        async def digest() -> str:
            answered: pb.GenerateResponse = await call(other.Generate, classify("I want my money back"), cap_s=60)
            return answered.answer.prompt_digest

        first, second = await register(one, PROMPT, LABEL), await register(one, system("You sort messages."))
        assert await digest() == first.digest
        await call(one.OverrideLabel, pb.OverrideLabelRequest(target=at(2), label=LABEL, reason="test"), cap_s=60)
        await eventually(lambda: _is(digest, second.digest))


async def test_a_route_of_the_registry_decides_at_once_and_every_choice_can_be_read(settings: Settings) -> None:
    async with running(settings) as stub:
        model = routing_pb2.ModelEntry(name="fast", provider="rehearsal", model="rehearsal", context_tokens=5000)
        await call(stub.RegisterModel, pb.RegisterModelRequest(model=model, labels=[LABEL]), cap_s=60)
        candidates = [
            routing_pb2.RouteCandidate(model="fast", weight=1.0, quality=0.9),
            routing_pb2.RouteCandidate(model="rehearsal/rehearsal-refuse", weight=3.0, quality=0.2),
        ]
        route = routing_pb2.Route(name="answering", candidates=candidates, strategy=routing_pb2.ROUTE_STRATEGY_ORDER)
        entry = (await call(stub.RegisterRoute, pb.RegisterRouteRequest(route=route, labels=[LABEL]), cap_s=60)).entry
        asked = plain("Hello?")
        asked.task = "answering"
        asked.work.CopyFrom(work_pb2.WorkContext(run_id="run_1", node="n"))
        answer = (await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)).answer
        kept = await call(stub.GetCall, pb.GetCallRequest(call_id=answer.call_id), cap_s=60)
        assert (kept.choice.route, kept.choice.route_digest) == ("answering@1", entry.digest)
        assert [(one.model, one.probability, one.quality) for one in kept.choice.candidates] == [
            ("rehearsal", 1.0, 0.9),
            ("rehearsal-refuse", 0.0, 0.2),
        ]
        assert (kept.work.run_id, kept.provider, len(kept.attempts)) == ("run_1", "rehearsal", 1)
        models = (await call(stub.ListModels, pb.ListModelsRequest(), cap_s=60)).models
        assert [(one.entry, one.context_tokens, one.available) for one in models] == [("fast", 5000, True), ("", 200_000, True)]
        bad = routing_pb2.Route(name="x", candidates=[routing_pb2.RouteCandidate(model="nobody")])
        with pytest.raises(NotFound, match="nobody"):
            await call(stub.RegisterRoute, pb.RegisterRouteRequest(route=bad), cap_s=60)


async def test_budgets_hold_over_rpc_and_over_replicas(settings: Settings) -> None:
    budget = budget_pb2.Budget(scope=budget_pb2.BUDGET_SCOPE_KEY, subject="key_1", period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=4000)
    async with running(settings, principal="console (key_1)") as one, running(settings, principal="console (key_1)") as other:
        status = (await call(one.SetBudget, pb.SetBudgetRequest(budget=budget), cap_s=60)).status
        assert (status.budget, status.spent_tokens) == (budget, 0)
        asked = plain("How long does a refund take?")
        asked.max_output_tokens = 200
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60))
                for _ in range(60)
                for stub in (one, other)
            ]
        outcomes = [task.result() for task in tasks]
        spent = sum(outcome.answer.usage.input_tokens + outcome.answer.usage.output_tokens for outcome in outcomes)

        async def settled() -> bool:
            [status] = (await call(other.ListBudgets, pb.ListBudgetsRequest(), cap_s=60)).budgets
            assert status.spent_tokens + status.reserved_tokens <= 4000
            return bool((status.spent_tokens, status.reserved_tokens) == (spent, 0))

        await eventually(settled)
        assert 0 < spent <= 4000
        refused = [outcome.failure.failure for outcome in outcomes if outcome.WhichOneof("outcome") == "failure"]
        assert {failure.category for failure in refused} <= {failure_pb2.FAILURE_CATEGORY_BUDGET_EXCEEDED}
        gone = pb.DeleteBudgetRequest(scope=budget.scope, subject="key_1", period=budget.period)
        assert (await call(one.DeleteBudget, gone, cap_s=60)).deleted
        with pytest.raises(Invalid, match=r"budget\.max_tokens"):
            await call(one.SetBudget, pb.SetBudgetRequest(budget=budget_pb2.Budget(scope=1, period=1)), cap_s=60)


async def test_two_replicas_pay_once_for_two_calls_at_once_under_one_key(settings: Settings) -> None:
    async with running(settings) as one, running(settings) as other:
        asked = plain("How long does a refund take?", "rehearsal-slow")
        asked.request_key = "k"
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)) for stub in (one, other, one, other)
            ]
        answers = [task.result().answer for task in tasks]
        assert sorted(answer.recorded for answer in answers) == [False, True, True, True]
        assert len({answer.call_id for answer in answers}) == 1


async def test_a_replica_starts_and_serves_from_the_last_known_good_while_postgres_is_away(settings: Settings, tmp_path: Path) -> None:
    known = replace(settings, snapshot_file=str(tmp_path / "registry.json"), ledger_away="serve")
    async with running(known) as stub:
        prompt = await register(stub, PROMPT, LABEL)
        await call(stub.Generate, classify("I want my money back"), cap_s=60)
    nowhere = free_address()
    away = replace(known, postgres=PostgresSettings(dsn=Secret(f"postgresql://u:p@{nowhere}/none")))
    async with running(away) as stub:
        answer = (await call(stub.Generate, classify("I want my money back"), cap_s=60)).answer
        assert (answer.prompt_digest, answer.output.text) == (prompt.digest, '{"intent":"refund"}')
    with pytest.raises(Unavailable):
        async with running(replace(away, snapshot_file=str(tmp_path / "none.json"))):
            pass
