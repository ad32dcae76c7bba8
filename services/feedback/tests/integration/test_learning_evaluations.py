"""Evaluations and improvements on a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from feedback_learning_desk import LABELS, PROMPT, SORTING, Desk, a_desk, begun, questions
from feedback_learning_samples import ACME
from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import State
from plimsoll_feedback.domain.learning.improvements import Improvement, Plan, Progress
from plimsoll_feedback.domain.learning.parts import Part, part_of
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.errors import (
    ImprovementUnderWay,
    KeyReused,
    NothingToCompare,
)
from plimsoll_feedback.ports.learning import Answered, Replay
from plimsoll_runtime.errors import DeadlineExpired
from plimsoll_runtime.failures import Category, Failure


@pytest.fixture
async def desk(postgres_dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(postgres_dsn) as desk:
        yield desk


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
