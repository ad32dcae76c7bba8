"""Datasets, annotations, evaluations and improvements on a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from feedback_learning_fakes import FakeModelRouter
from feedback_learning_samples import ACME, UMBRELLA, body, spec
from plimsoll_feedback.adapters.model_router_messages import tool_results
from plimsoll_feedback.adapters.postgres_annotations import PostgresAnnotationStore
from plimsoll_feedback.adapters.postgres_audit import PostgresAuditLog
from plimsoll_feedback.adapters.postgres_datasets import PostgresDatasetStore
from plimsoll_feedback.adapters.postgres_evaluations import PostgresEvaluationStore
from plimsoll_feedback.adapters.postgres_examples import PostgresHeldOutExamples, PostgresTrainingExamples
from plimsoll_feedback.adapters.postgres_improvements import PostgresImprovementStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_parts import reading_part
from plimsoll_feedback.adapters.postgres_production import PostgresProduction
from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import EvaluationSpec, State
from plimsoll_feedback.domain.learning.exporting import ExportFormat
from plimsoll_feedback.domain.learning.improvements import Improvement, Plan, Progress
from plimsoll_feedback.domain.learning.parts import Part, part_of
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.domain.learning.rules import Correction, LowConfidence
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId
from plimsoll_feedback.domain.signal import Demonstrated, SignalDraft
from plimsoll_feedback.errors import (
    DatasetNotFound,
    DatasetTaken,
    ImprovementUnderWay,
    ItemClosed,
    KeyReused,
    NothingToCompare,
)
from plimsoll_feedback.main import TABLES
from plimsoll_feedback.ports.learning import Answered, Replay
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.service.datasets import Datasets
from plimsoll_feedback.service.evaluating import EvaluationRunner
from plimsoll_feedback.service.evaluations import Evaluations
from plimsoll_feedback.service.exports import Exports
from plimsoll_feedback.service.improvements import Improvements
from plimsoll_feedback.service.improving import ImprovementRunner, Proposer
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.report_codec import seal, unseal
from plimsoll_runtime import audit, logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import DeadlineExpired, Unavailable
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.json_types import parse_object
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.usage import Usage

SORTING = DatasetName("sorting")
PROMPT = PromptVersion(
    name="sort",
    digest="",
    version=0,
    description="",
    variables=("question",),
    system="Sort.",
    examples=(Shown(user="card 0", assistant="card"), Shown(user="pin 0", assistant="pin")),
    user="{{question}}",
)
LABELS = ("card", "pin", "refund", "loan")


class Desk:
    """Everything that learns, on one database, with a model-router in memory."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        clock, ids, log = SystemClock(), RandomIds(), logs.get("test")
        self.pool = pool
        self.router = FakeModelRouter()
        self.operations = PostgresOperationStore(pool, signal_recorded)
        signals = PostgresSignalStore(pool, signal_recorded)
        self.feedback = FeedbackService(self.operations, signals, PostgresTraceStore(pool), clock, ids)
        self.store, self.training = PostgresDatasetStore(pool), PostgresTrainingExamples(pool)
        queue = PostgresAnnotationStore(pool, ids)
        self.datasets = Datasets(self.store, queue, self.training, PostgresProduction(pool), self.router, clock, ids, self.feedback)
        self.evaluation_store = PostgresEvaluationStore(pool, seal, unseal)
        self.evaluations = Evaluations(self.evaluation_store, self.store, self.router, clock, ids)
        self.held_out = PostgresHeldOutExamples(pool)
        self.runner = EvaluationRunner(self.evaluation_store, self.held_out, self.router, tool_results, clock, log)
        self.tries = PostgresImprovementStore(pool)
        self.improvements = Improvements(self.tries, self.store, clock, ids)
        proposer = Proposer(self.training, self.router)
        self.improver = ImprovementRunner(self.tries, self.improvements, proposer, self.evaluations, self.store, self.router, clock, log)
        self.weak = self.router.add(PROMPT, "production")
        self.stop = asyncio.Event()

    async def happened(self, questions: list[str], *, tenant: str = ACME, confidence: float = 0.2, answer: str = "card") -> None:
        """Calls of the prompt, one in each run."""
        now = datetime.now(UTC)
        told = [_call(question, now, tenant, confidence, self.weak.digest) for question in questions]
        self.router.bodies |= {f"call_{question}": body(question, answer, self.weak.digest) for question in questions}
        runs = [Run(id=RunId(f"run_{question}"), tenant=tenant, agent="desk", agent_version="d1", started_at=now) for question in questions]
        await self.operations.record(told, runs)

    async def learned(self, questions: list[str]) -> None:
        """These happened, were selected, and annotated with their first word."""
        await self.happened(questions)
        await self.annotated()

    async def annotated(self) -> None:
        """All that was selected, with the first word of the question."""
        await self.datasets.select(ACME, SORTING)
        while items := await self.datasets.claim(ACME, SORTING, "ada", 100, 60):
            for item in items:
                await self.datasets.annotate(ACME, item.id, "ada", item.body.variables["question"].split()[0])  # type: ignore[index, call-overload, union-attr]


def _call(question: str, at: datetime, tenant: str, confidence: float, digest: str) -> Operation:
    return Operation(
        id=OperationId(f"op_{question}"),
        tenant=tenant,
        kind=OperationKind.MODEL_CALL,
        run_id=RunId(f"run_{question}"),
        step=2,
        agent="desk",
        agent_version="d1",
        node="sort",
        name="rehearsal",
        started_at=at,
        duration_s=0.1,
        usage=Usage(),
        facts={
            "call_id": f"call_{question}",
            "prompt": "sort",
            "prompt_digest": digest,
            "confidence": confidence,
            "task": "classification",
        },
    )


def questions(*labels: str, count: int = 30) -> list[str]:
    """Different enough not to be taken for duplicates."""
    return [f"{label} question {n} about matter {n * 7 + len(label)} of {label}{n}" for label in labels for n in range(count)]


@pytest.fixture
async def desk(postgres_dsn: str) -> AsyncIterator[Desk]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", TABLES)
        desk = Desk(pool)
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5), Correction())), "ada")
        yield desk


class TestDatasets:
    async def test_what_a_rule_selects_is_redacted_deduplicated_and_queued_once(self, desk: Desk) -> None:
        same = ["Where is it, ada@example.org?", "where is it,  ADA@example.org?", "I lost my PIN"]
        await desk.happened(same)
        await desk.happened(["never selected"], confidence=0.9)
        first, again = await desk.datasets.select(ACME, SORTING), await desk.datasets.select(ACME, SORTING)
        assert (first.selected, first.duplicates, first.lost) == (3, 1, 0)
        assert again.selected == 0
        items = await desk.datasets.claim(ACME, SORTING, "ada", 10, 60)
        assert {item.body.variables["question"].lower() for item in items} == {"where is it, [email]?", "i lost my pin"}  # type: ignore[index, call-overload, union-attr]
        stored = await desk.pool.fetchval("select string_agg(coalesce(body, ''), '') from dataset_items")
        assert stored is None  # nobody sees rows without saying for whom
        async with reading(desk.pool, ACME) as connection:
            assert "ada@" not in await connection.fetchval("select string_agg(body, '') from dataset_items")

    async def test_selection_gets_through_any_backlog(self, desk: Desk) -> None:
        """More at once than a page holds, all within the time that is looked at again."""
        await desk.happened(questions("card", count=450))
        assert (await desk.datasets.select(ACME, SORTING)).selected == 450
        await desk.happened(["one more question"])
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1

    async def test_a_body_that_nobody_keeps_is_noted_and_never_asked_for_again(self, desk: Desk) -> None:
        await desk.happened(["forgotten"])
        desk.router.bodies.clear()
        assert (await desk.datasets.select(ACME, SORTING)).lost == 1
        assert (await desk.datasets.select(ACME, SORTING)).selected == 0

    async def test_while_the_router_is_away_nothing_is_passed_over(self, desk: Desk) -> None:
        await desk.happened(["patient question"])
        desk.router.away = True
        with pytest.raises(Unavailable):
            await desk.datasets.select(ACME, SORTING)
        desk.router.away = False
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1

    async def test_a_correction_in_production_is_an_annotation(self, desk: Desk) -> None:
        await desk.happened(["refund my money"], confidence=0.9)
        draft = SignalDraft(
            run_id=RunId("run_refund my money"),
            operation_id=OperationId("op_refund my money"),
            value=Demonstrated(answer="refund"),
            comment="",
            source="bob",
        )
        signal = await desk.feedback.record_signal(ACME, draft, "")
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1
        part = part_of(ACME, "run_refund my money")
        async with reading_part(desk.pool, ACME, part) as connection:
            row = await connection.fetchrow("select expected, lineage from examples")
        assert row["expected"] == '"refund"'
        assert (row["lineage"]["annotators"], row["lineage"]["signal_ids"]) == (["bob"], [signal.id])

    async def test_corrections_of_one_key_are_one_voice_whatever_sources_it_names(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(Correction(),), agreement=2, annotators=3), "ada")
        await desk.happened(["refund my money"], confidence=0.9)

        async def corrected(source: str, by: str) -> tuple[int, int]:
            draft = SignalDraft(
                run_id=RunId("run_refund my money"),
                operation_id=OperationId("op_refund my money"),
                value=Demonstrated(answer="refund"),
                comment="",
                source=source,
                recorded_by=by,
            )
            await desk.feedback.record_signal(ACME, draft, "")
            await desk.datasets.select(ACME, SORTING)
            counts = (await desk.datasets.get(ACME, SORTING)).counts
            return counts.pending, counts.training + counts.held_out

        for source in ("ada", "bob", "annotators"):
            assert await corrected(source, "console (key_1)") == (1, 0)
        assert await corrected("ada", "desk (key_2)") == (0, 1)

    async def test_annotators_never_get_the_same_item_and_contradiction_is_settled_by_a_third(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), agreement=2, annotators=3), "ada")
        await desk.happened(["one thing", "another matter"])
        await desk.datasets.select(ACME, SORTING)
        ada, bob = await asyncio.gather(*(desk.datasets.claim(ACME, SORTING, who, 1, 60) for who in ("ada", "bob")))
        assert len({ada[0].id, bob[0].id}) == 2
        item = ada[0].id
        assert (await desk.datasets.annotate(ACME, item, "ada", "card")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "bob", "pin")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "cy", "loan")).status == "disputed"
        [disputed] = await desk.datasets.disputed(ACME, SORTING)
        assert [one.expected for one in disputed.annotations] == ["card", "pin", "loan"]
        settled = await desk.datasets.annotate(ACME, item, "dora", "pin")
        assert (settled.status, bool(settled.example_id)) == ("agreed", True)
        assert (await desk.datasets.annotate(ACME, item, "dora", "pin")).example_id == settled.example_id
        with pytest.raises(ItemClosed):
            await desk.datasets.annotate(ACME, item, "eve", "card")

    async def test_an_item_is_discarded_by_as_many_as_must_agree_and_it_is_told_who_they_were(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), agreement=2, annotators=3), "ada")
        await desk.happened(["one thing", "another matter"])
        await desk.datasets.select(ACME, SORTING)
        item, other = [one.id for one in await desk.datasets.claim(ACME, SORTING, "ada", 2, 60)]
        for _ in range(3):  # one voice, however often it is raised
            assert (await desk.datasets.discard(ACME, item, "ada")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "bob", None)).status == "pending"  # nothing is an answer, too
        assert await desk.datasets.claim(ACME, SORTING, "ada", 2, 60) != []
        assert (await desk.datasets.discard(ACME, item, "cy")).status == "discarded"
        assert (await desk.datasets.discard(ACME, item, "cy")).status == "discarded"
        for late in (desk.datasets.annotate(ACME, item, "bob", "card"), desk.datasets.discard(ACME, item, "dora")):
            with pytest.raises(ItemClosed):
                await late
        for who in ("ada", "bob"):
            agreed = await desk.datasets.annotate(ACME, other, who, "card")
        assert agreed.status == "agreed"
        with pytest.raises(ItemClosed, match="agreed"):
            await desk.datasets.discard(ACME, other, "ada")
        [told] = await audit.entries(desk.pool, ACME, action="item.discarded")
        assert (told.subject, told.actor) == (f"item:{item}", "cy")
        assert parse_object(told.details) == {"dataset": SORTING, "annotators": ["ada", "cy"]}

    async def test_a_claim_that_ran_out_is_free_again(self, desk: Desk) -> None:
        await desk.happened(["one thing"])
        await desk.datasets.select(ACME, SORTING)
        assert await desk.datasets.claim(ACME, SORTING, "ada", 1, 0.001)
        await asyncio.sleep(0.01)
        assert await desk.datasets.claim(ACME, SORTING, "bob", 1, 60)
        assert not await desk.datasets.claim(ACME, SORTING, "ada", 1, 60)

    async def test_agreed_answers_tell_monitors_what_they_were_worth(self, desk: Desk) -> None:
        await desk.learned(["card is right", "pin is wrong"])
        async with reading(desk.pool, ACME) as connection:
            rows = await connection.fetch("select run_id, verdict, demonstration from signals order by run_id")
        assert [tuple(row) for row in rows] == [("run_card is right", "good", None), ("run_pin is wrong", None, '"pin"')]

    async def test_another_tenant_has_none_of_it(self, desk: Desk) -> None:
        await desk.learned(["card"])
        for verb in (desk.datasets.get(UMBRELLA, SORTING), desk.datasets.claim(UMBRELLA, SORTING, "eve", 1, 60)):
            with pytest.raises(DatasetNotFound):
                await verb

    async def test_a_name_stays_with_its_prompt(self, desk: Desk) -> None:
        with pytest.raises(DatasetTaken):
            await desk.datasets.put(ACME, spec(prompt="another"), "ada")


class TestHeldOut:
    async def test_no_reader_of_training_sees_the_held_out_part_and_the_database_itself_refuses(self, desk: Desk) -> None:
        asked = questions("card", "pin", count=20)
        await desk.learned(asked)
        held_out = {question for question in asked if part_of(ACME, f"run_{question}") is Part.HELD_OUT}
        assert 0 < len(held_out) < len(asked)
        version = (await desk.datasets.get(ACME, SORTING)).counts.version
        learned = {one.body.variables["question"] for one in await desk.training.page(ACME, SORTING, version, "", 500)}  # type: ignore[index, call-overload]
        assert learned == set(asked) - held_out
        async with reading_part(desk.pool, ACME, Part.TRAINING) as connection:
            assert await connection.fetchval("select count(*) from examples where part = 'held_out'") == 0
            assert await connection.fetchval("select count(*) from held_out_examples") == 0
        async with reading(desk.pool, ACME) as connection:  # who names no part sees none
            assert await connection.fetchval("select count(*) from examples") == 0

    async def test_exports_and_proposals_never_hold_it(self, desk: Desk) -> None:
        asked = questions("refund", "loan", count=20)
        await desk.learned(asked)
        held_out = {question for question in asked if part_of(ACME, f"run_{question}") is Part.HELD_OUT}
        exports = Exports(desk.datasets, desk.router, PostgresAuditLog(desk.pool))
        for form in ExportFormat:
            text = "\n".join((await exports.export(ACME, SORTING, 0, form, "ada")).lines)
            assert text
            assert not [question for question in held_out if question in text]
        await desk.improvements.start(ACME, "sort", SORTING, "")
        await desk.improver.step()
        candidate = desk.router.prompts[desk.router.labels["sort", "candidate"]]
        shown = {one.user for one in candidate.examples}
        assert shown & (set(asked) - held_out)
        assert not shown & held_out

    async def test_what_is_deleted_or_kept_long_enough_is_in_no_export_of_any_version(self, desk: Desk) -> None:
        asked = questions("card", count=12)
        await desk.learned(asked)
        exports, before = (
            Exports(desk.datasets, desk.router, PostgresAuditLog(desk.pool)),
            (await desk.datasets.get(ACME, SORTING)).counts.version,
        )
        [first, *_] = await desk.training.page(ACME, SORTING, before, "", 500)
        lines = len((await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")).lines)
        assert await desk.datasets.delete(ACME, SORTING, first.id, "bob")
        assert not await desk.datasets.delete(ACME, SORTING, first.id, "bob")
        again = await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")
        assert len(again.lines) == lines - 1
        assert first.body.variables["question"] not in "".join(again.lines)  # type: ignore[index, call-overload, operator]
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), retention_s=0.001), "ada")
        assert await desk.datasets.expire(ACME, SORTING) == len(asked) - 1
        assert (await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")).lines == ()
        async with reading(desk.pool, ACME) as connection:
            assert await connection.fetchval("select count(*) from dataset_items where body is not null") == 0
            assert await connection.fetchval("select count(*) from annotations") == 0
        told = [(one.action, one.subject, one.actor) for one in reversed(await audit.entries(desk.pool, ACME))]
        of = f"dataset:{SORTING}"
        deleted = ("example.deleted", f"example:{first.id}", "bob")
        put, out = ("dataset.put", of, "ada"), ("dataset.exported", of, "ada")
        assert told == [put, out, deleted, out, put, out]  # what was not there to delete is not told
        [last, *_] = await audit.entries(desk.pool, ACME, action="dataset.exported", subject=of)
        assert parse_object(last.details)["lines"] == 0
        assert (await audit.verify(desk.pool, ACME)).is_intact


async def begun(desk: Desk, better: PromptVersion, key: str = "", **rules: object) -> str:
    spec_ = EvaluationSpec(
        dataset=SORTING,
        subject=SubjectKind.PROMPT,
        name="sort",
        candidate_digest=better.digest,
        baseline_digest="",
        rules=replace(Rules(minimum_examples=10), **rules),  # type: ignore[arg-type]  # a test's shorthand
    )
    return (await desk.evaluations.start(ACME, spec_, "production", key)).id


def better_prompt(desk: Desk) -> PromptVersion:
    return desk.router.add(replace(PROMPT, examples=tuple(Shown(user=f"{label} ", assistant=label) for label in LABELS)))


class TestEvaluations:
    async def test_a_better_version_passes_on_the_held_out_part_and_its_report_is_kept_for_ever(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        evaluation_id = await begun(desk, better_prompt(desk))
        assert await desk.runner.step(desk.stop)
        evaluation = await desk.evaluations.get(ACME, evaluation_id)  # type: ignore[arg-type]
        assert (evaluation.state, evaluation.verdict, evaluation.answered) == (State.DONE, "passed", evaluation.wanted)
        report = await desk.evaluations.report(ACME, evaluation.report_digest)
        assert (report.digest, report.measures[0].candidate) == (evaluation.report_digest, 1.0)
        asked = {replay.body.variables["question"] for replay in desk.router.asked}  # type: ignore[index, call-overload]
        assert {part_of(ACME, f"run_{question}") for question in asked} == {Part.HELD_OUT}
        async with reading(desk.pool, ACME) as connection:
            assert await connection.fetchval("select count(*) from evaluation_reports") == 1
        async with desk.pool.acquire() as connection:
            await connection.execute("select set_config('plimsoll.tenant', 'acme', false)")
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute("update evaluation_reports set report = '{}'")

    async def test_an_evaluation_whose_process_died_goes_on_where_it_was_in_another(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        evaluation_id = await begun(desk, better_prompt(desk))
        held = await desk.evaluation_store.claim(30)
        assert held is not None
        assert not await desk.runner.step(desk.stop)  # somebody has it
        first = await _answers_of(desk, held, 8)
        async with desk.pool.acquire() as connection, connection.transaction():  # the lease ends, as after kill -9
            await connection.execute("select set_config('plimsoll.ingesting', 'yes', true)")
            await connection.execute("update evaluations set held_until = now()")
        desk.router.asked.clear()
        assert await desk.runner.step(desk.stop)
        evaluation = await desk.evaluations.get(ACME, evaluation_id)  # type: ignore[arg-type]
        assert evaluation.state is State.DONE
        assert len(desk.router.asked) == evaluation.wanted - first
        assert not await desk.evaluation_store.renew(held, 30)  # who was thought dead is fenced off
        await desk.evaluation_store.fail(held, "late")
        assert (await desk.evaluations.get(ACME, evaluation_id)).state is State.DONE  # type: ignore[arg-type]

    async def test_two_replicas_do_not_carry_out_the_same_one(self, desk: Desk) -> None:
        await desk.learned(questions("card", "refund", count=15))
        await begun(desk, better_prompt(desk))
        assert sorted(await asyncio.gather(desk.runner.step(desk.stop), desk.runner.step(desk.stop))) == [False, True]
        keys = [replay.key for replay in desk.router.asked]
        assert len(keys) == len(set(keys))

    async def test_the_same_key_is_the_same_evaluation_and_no_other(self, desk: Desk) -> None:
        better = better_prompt(desk)
        assert await begun(desk, better, "k") == await begun(desk, better, "k")
        with pytest.raises(KeyReused):
            await begun(desk, better, "k", margin=0.5)

    async def test_a_prompt_without_a_production_version_has_nothing_to_compare(self, desk: Desk) -> None:
        better = better_prompt(desk)
        desk.router.labels.clear()
        with pytest.raises(NothingToCompare, match="has no version at production"):
            await begun(desk, better)

    async def test_an_empty_dataset_and_too_few_examples_are_inconclusive(self, desk: Desk) -> None:
        evaluation_id = await begun(desk, better_prompt(desk))
        await desk.runner.step(desk.stop)
        assert (await desk.evaluations.get(ACME, evaluation_id)).verdict == "inconclusive"  # type: ignore[arg-type]

    async def test_a_judge_that_says_nonsense_leaves_it_inconclusive_and_is_named(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        desk.router.judge = "splendid!"
        evaluation_id = await begun(desk, better_prompt(desk), scorers=("judge",), judge_prompt="judge@production")
        await desk.runner.step(desk.stop)
        evaluation = await desk.evaluations.get(ACME, evaluation_id)  # type: ignore[arg-type]
        report = await desk.evaluations.report(ACME, evaluation.report_digest)
        assert evaluation.verdict == "inconclusive"
        assert any("the judge gave no score" in reason for reason in report.reasons)

    async def test_a_scorer_that_throws_leaves_it_inconclusive_and_is_named(self, desk: Desk) -> None:
        asked = questions(*LABELS)
        await desk.happened(asked)
        broken = {"output_schema": {"type": "nothing"}}
        desk.router.bodies = {call_id: replace(one, asked=broken) for call_id, one in desk.router.bodies.items()}
        await desk.annotated()
        evaluation_id = await begun(desk, better_prompt(desk), scorers=("schema",))
        await desk.runner.step(desk.stop)
        evaluation = await desk.evaluations.get(ACME, evaluation_id)  # type: ignore[arg-type]
        report = await desk.evaluations.report(ACME, evaluation.report_digest)
        assert (evaluation.state, evaluation.verdict) == (State.DONE, "inconclusive")
        assert any("the recorded schema is none" in reason for reason in report.reasons)

    async def test_what_fails_for_its_own_fault_is_wrong_and_what_passes_by_is_unscored(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        better = better_prompt(desk)

        def broken(replay: Replay) -> Answered | None:
            if replay.prompt_digest != better.digest:
                return None
            failure = Failure(category=Category.MODEL_MALFORMED, reason="OUTPUT_INVALID", message="no JSON")
            return Answered(value=None, failure=failure)

        desk.router.answers = broken
        evaluation_id = await begun(desk, better)
        await desk.runner.step(desk.stop)
        assert (await desk.evaluations.get(ACME, evaluation_id)).verdict == "failed"  # type: ignore[arg-type]
        away = Failure(category=Category.UPSTREAM_UNAVAILABLE, reason="AWAY", message="away", retryable=True)
        desk.router.answers = lambda _: Answered(value=None, failure=away)
        evaluation_id = await begun(desk, better)
        await desk.runner.step(desk.stop)
        assert (await desk.evaluations.get(ACME, evaluation_id)).verdict == "inconclusive"  # type: ignore[arg-type]

    async def test_an_answer_that_never_comes_in_time_is_unscored_and_ends_nothing(self, desk: Desk) -> None:
        await desk.learned(questions("card", count=40))

        def late(_: Replay) -> Answered | None:
            raise DeadlineExpired

        desk.router.answers = late
        evaluation_id = await begun(desk, better_prompt(desk), minimum_examples=3)
        assert await desk.runner.step(desk.stop)
        evaluation = await desk.evaluations.get(ACME, evaluation_id)  # type: ignore[arg-type]
        assert (evaluation.state, evaluation.verdict) == (State.DONE, "inconclusive")

    async def test_a_cancelled_one_ends_at_once(self, desk: Desk) -> None:
        evaluation_id = await begun(desk, better_prompt(desk))
        assert await desk.evaluations.cancel(ACME, evaluation_id)  # type: ignore[arg-type]
        assert not await desk.evaluations.cancel(ACME, evaluation_id)  # type: ignore[arg-type]
        assert not await desk.runner.step(desk.stop)


async def _answers_of(desk: Desk, held: object, count: int) -> int:
    """The first answers of an evaluation, as the process that died kept them."""
    from plimsoll_feedback.domain.learning.evaluations import Result, Side  # noqa: PLC0415 - only here

    examples = await desk.held_out.all(ACME, SORTING, held.evaluation.dataset_version)  # type: ignore[attr-defined]
    results = [
        Result(example_id=one.id, side=Side.CANDIDATE, value="x", scores={"exact": 1.0, "cost": 1.0, "latency": 0.1})
        for one in examples[:count]
    ]
    assert await desk.evaluation_store.add(held, results)  # type: ignore[arg-type]
    return len(results)


class TestImprovements:
    async def test_a_prompt_learns_from_corrections_and_is_promoted_with_its_report(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        await desk.improvements.put_plan(
            ACME, Plan(prompt="sort", dataset=SORTING, rules=Rules(minimum_examples=10, must_be_better=True)), "ada"
        )
        started = await desk.improvements.start(ACME, "sort", DatasetName(""), "k")
        assert (await desk.improvements.start(ACME, "sort", DatasetName(""), "k")).id == started.id
        with pytest.raises(ImprovementUnderWay):
            await desk.improvements.start(ACME, "sort", DatasetName(""), "")
        desk.router.answers = _first_word_if_shown(desk)
        ended = await _ended(desk, started.id)
        assert (ended.state, desk.router.labels["sort", "production"]) == (Progress.PROMOTED, ended.candidate_digest)
        assert desk.router.moves == [(ended.candidate_digest, "production", ended.report_digest)]

    async def test_a_candidate_that_is_no_better_stays_one(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        desk.router.answers = lambda _: Answered(value="card")
        ended = await _ended(desk, (await desk.improvements.start(ACME, "sort", SORTING, "")).id)
        assert ended.state is Progress.REFUSED
        assert desk.router.labels["sort", "production"] == desk.weak.digest
        assert desk.router.moves == []

    async def test_what_the_registry_refuses_is_told(self, desk: Desk) -> None:
        await desk.learned(questions(*LABELS))
        desk.router.answers, desk.router.refuses = _first_word_if_shown(desk), True
        ended = await _ended(desk, (await desk.improvements.start(ACME, "sort", SORTING, "")).id)
        assert (ended.state, ended.reason.split(":")[0]) == (Progress.REFUSED, "REPORT_REFUSED")

    async def test_nothing_to_learn_from_and_no_production_version_end_plainly(self, desk: Desk) -> None:
        ended = await _ended(desk, (await desk.improvements.start(ACME, "sort", SORTING, "")).id)
        assert ended.state is Progress.NOTHING
        desk.router.labels.clear()
        ended = await _ended(desk, (await desk.improvements.start(ACME, "sort", SORTING, "")).id)
        assert (ended.state, "has no version at production" in ended.reason) == (Progress.FAILED, True)

    async def test_a_plan_starts_by_itself_when_there_is_enough_new(self, desk: Desk) -> None:
        await desk.improvements.put_plan(ACME, Plan(prompt="sort", dataset=SORTING, every_s=1.0, minimum_new=5), "ada")
        later = datetime.now(UTC) + timedelta(seconds=5)
        assert await desk.tries.due(later) != []
        assert await desk.tries.due(later) == []  # given to one process only
        await desk.learned(questions("card", count=6))
        assert await desk.improvements._begin_if_new(ACME, Plan(prompt="sort", dataset=SORTING, minimum_new=5))
        assert not await desk.improvements._begin_if_new(ACME, Plan(prompt="sort", dataset=SORTING, minimum_new=500))


def _first_word_if_shown(desk: Desk) -> Callable[[Replay], Answered]:
    """A model that answers by the first word, when an example of its prompt begins with the same one."""

    def answer(replay: Replay) -> Answered:
        first = str(replay.body.variables["question"]).split()[0]  # type: ignore[index, call-overload]
        known = {one.user.split()[0] for one in desk.router.prompts[replay.prompt_digest].examples}
        return Answered(value=first if first in known else "unknown", cost_micros=3, latency_s=0.01)

    return answer


async def _ended(desk: Desk, improvement_id: str) -> Improvement:
    ends = {Progress.PROMOTED, Progress.REFUSED, Progress.NOTHING, Progress.FAILED}
    async with asyncio.timeout(30):
        while (one := await desk.improvements.get(ACME, improvement_id)).state not in ends:  # type: ignore[arg-type]
            await desk.improver.step()
            await desk.runner.step(desk.stop)
    return one
