"""Carrying evaluations out: one example after the other, each result kept as it comes, so that any process can go on."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import DeadlineExpired, Internal, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue, canonical, digest
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import pause

from plimsoll_feedback.domain.learning import scorers
from plimsoll_feedback.domain.learning.comparison import CONFIDENCE, COST, LATENCY, compare
from plimsoll_feedback.domain.learning.datasets import Example, Recorded
from plimsoll_feedback.domain.learning.evaluations import EvaluationSpec, Result, Side, drawn, pairs_of, rules_told
from plimsoll_feedback.domain.learning.reports import Report, SubjectKind
from plimsoll_feedback.domain.learning.scorers import JUDGE, Given
from plimsoll_feedback.ports.learning import Answered, EvaluationStore, Held, HeldOutExamples, ModelRouter, Replay, ToolAnswers

_LEASE_S = 30.0
_AT_ONCE = 8
_TURNS = 6
_TRIES = 3
_IDLE_S = 0.5
_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    example: Example
    side: Side


class EvaluationRunner:
    """One of its loops carries out one evaluation at a time; every replica may run one."""

    def __init__(
        self,
        store: EvaluationStore,
        held_out: HeldOutExamples,
        router: ModelRouter,
        answers: ToolAnswers,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._held_out = held_out
        self._router = router
        self._answers = answers
        self._clock = clock
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; what is under way is then left to another process, from where it is."""
        while not stop.is_set():
            try:
                if not await self.step(stop):
                    await pause(_IDLE_S, stop)
            except PlimsollError as error:
                self._log.warning("evaluation.interrupted", {"reason": error.reason})
                await pause(_AGAIN_S, stop)

    async def step(self, stop: asyncio.Event) -> bool:
        """Carry out the next evaluation, if there is one."""
        held = await self._store.claim(_LEASE_S)
        if held is None:
            return False
        try:
            await self._carry_out(held, stop)
        except (Unavailable, DeadlineExpired):
            await self._store.release(held)
            raise
        except PlimsollError as error:
            self._log.warning("evaluation.failed", {"evaluation_id": held.evaluation.id, "reason": error.reason})
            await self._store.fail(held, f"{error.reason}: {error.message}")
        return True

    async def _carry_out(self, held: Held, stop: asyncio.Event) -> None:
        evaluation = held.evaluation
        spec = evaluation.spec
        found = await self._held_out.all(evaluation.tenant, spec.dataset, evaluation.dataset_version)
        examples = drawn(list(found), spec.rules.most_examples)
        await self._store.begin(held, 2 * len(examples))
        done = {(one.example_id, one.side) for one in await self._store.results(held)}
        jobs = [_Job(example=one, side=side) for one in examples for side in Side if (one.id, side) not in done]
        if not await self._answer_all(held, jobs, stop):
            return
        known = {one.id for one in examples}
        results = [one for one in await self._store.results(held) if one.example_id in known]
        await self._store.finish(held, self._report(held, examples, results))
        self._log.info("evaluation.done", {"evaluation_id": evaluation.id, "examples": len(examples)})

    async def _answer_all(self, held: Held, jobs: Sequence[_Job], stop: asyncio.Event) -> bool:
        """In small batches; False when somebody else has it now, or it is to stop."""
        versions = await self._versions(held)
        for at in range(0, len(jobs), _AT_ONCE):
            if stop.is_set():
                await self._store.release(held)
                return False
            batch = jobs[at : at + _AT_ONCE]
            results = await self._batch(held, batch, versions)
            if results is None or not await self._store.add(held, results) or not await self._store.renew(held, _LEASE_S):
                return False
        return True

    async def _batch(self, held: Held, batch: Sequence[_Job], versions: Mapping[Side, Replay]) -> Sequence[Result] | None:
        """None when somebody else has it now: models may take longer than a lease, which is renewed meanwhile."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(held, job, versions[job.side])) for job in batch]
                while (await asyncio.wait(tasks, timeout=_LEASE_S / 3))[1]:
                    if not await self._store.renew(held, _LEASE_S):
                        for task in tasks:
                            task.cancel()
                        return None
        except BaseExceptionGroup as raised:
            error = unwrap(raised)
            raise error if isinstance(error, PlimsollError) else Internal("an evaluation broke off") from raised
        return [task.result() for task in tasks]

    async def _versions(self, held: Held) -> Mapping[Side, Replay]:
        """How either side is asked, as a replay without a question. A route is asked by the model that it prefers."""
        spec, tenant = held.evaluation.spec, held.evaluation.tenant
        sides = {Side.CANDIDATE: spec.candidate_digest, Side.BASELINE: spec.baseline_digest}
        asked = {}
        for side, version in sides.items():
            match spec.subject:
                case SubjectKind.PROMPT:
                    asked[side] = Replay(prompt=spec.name, prompt_digest=version)
                case SubjectKind.MODEL:
                    asked[side] = Replay(model_digest=version, model=spec.name)
                case SubjectKind.ROUTE:
                    route = await self._router.route(tenant, spec.name, digest=version)
                    if route is None or not route.candidates:
                        raise Internal(f"route {spec.name} lost its version {version}", reason="ROUTE_LOST")
                    asked[side] = Replay(model=route.candidates[0].model)
        return asked

    async def _answer(self, held: Held, job: _Job, version: Replay) -> Result:
        body, spec = job.example.body, held.evaluation.spec
        key = f"{held.evaluation.id}/{job.example.id}/{job.side}"
        replay = replace(
            version,
            key=key,
            body=body,
            prompt=version.prompt or body.prompt,
            prompt_digest=version.prompt_digest or body.prompt_digest,
            model=body.model if spec.subject is SubjectKind.PROMPT else version.model,
        )
        answered, given = await self._converse(held.evaluation.tenant, replay)
        if answered.failure is not None and answered.failure.retryable:
            nothing: dict[str, float | None] = dict.fromkeys((*spec.rules.scorers, COST, LATENCY))
            return Result(
                example_id=job.example.id, side=job.side, value=None, scores=nothing, note=f"unanswered: {answered.failure.reason}"
            )
        scores: dict[str, float | None] = {}
        notes = [f"failed: {answered.failure.reason}"] if answered.failure is not None else []
        for scorer in spec.rules.scorers:
            try:
                scores[scorer] = await self._score(held, spec, key, job.example, given, scorer)
            except ValueError as error:  # a scorer that cannot do its work says nothing about the answer
                scores[scorer] = None
                notes.append(f"{scorer}: {error}")
        scores |= {COST: float(answered.cost_micros), LATENCY: answered.latency_s}
        return Result(example_id=job.example.id, side=job.side, value=given.value, scores=scores, note="; ".join(notes)[:1000])

    async def _score(self, held: Held, spec: EvaluationSpec, key: str, example: Example, given: Given, scorer: str) -> float | None:
        if scorer != JUDGE:
            schema = example.body.asked.get("output_schema") if isinstance(example.body.asked, dict) else None
            return scorers.score(scorer, given, example.expected, schema, expected_tools(example.expected))
        if given.failed:
            return 0.0
        name, _, label = spec.rules.judge_prompt.partition("@")
        variables: JsonValue = {
            "question": _text(example.body.variables),
            "expected": _text(example.expected),
            "answer": _text(given.value),
        }
        answered = await self._router.ask(held.evaluation.tenant, name, label, variables, f"{key}/judge")
        if answered.failure is not None:
            raise ValueError(f"the judge did not answer: {answered.failure.reason}")
        return scorers.judged(answered.value)

    async def _converse(self, tenant: str, replay: Replay) -> tuple[Answered, Given]:
        """Ask, and answer the tools it calls from the recording, until it says something or calls what was not recorded."""
        recorded = list(replay.body.recorded)
        tools: list[str] = []
        cost, latency = 0, 0.0
        for turn in range(_TURNS):
            answered = await self._asked(tenant, replace(replay, key=f"{replay.key}/{turn}"))
            cost, latency = cost + answered.cost_micros, latency + answered.latency_s
            tools += [one.tool for one in answered.tools]
            results = [(one.call_id, _recorded(recorded, one.tool, one.arguments)) for one in answered.tools]
            known = [(call_id, found) for call_id, found in results if found is not None]
            if answered.failure is not None or not results or len(known) < len(results):
                break
            replay = replace(replay, more=(*replay.more, answered.message, self._answers(known)))
        given = Given(value=answered.value, tools=tuple(tools), failed=answered.failure is not None)
        return replace(answered, cost_micros=cost, latency_s=latency), given

    async def _asked(self, tenant: str, replay: Replay) -> Answered:
        """What fails for reasons that pass is asked again, a few times."""
        for attempt in range(_TRIES):
            try:
                answered = await self._router.replay(tenant, replace(replay, key=f"{replay.key}/{attempt}"))
            except DeadlineExpired:
                late = Failure(category=Category.TIMEOUT, reason="NO_ANSWER_IN_TIME", message="no answer came in time", retryable=True)
                answered = Answered(value=None, failure=late)
            if answered.failure is None or not answered.failure.retryable:
                break
        return answered

    def _report(self, held: Held, examples: list[Example], results: list[Result]) -> Report:
        evaluation = held.evaluation
        spec = evaluation.spec
        seed = int(digest([spec.candidate_digest, spec.baseline_digest])[:8], 16)
        found = compare(pairs_of(examples, results), spec.rules, seed)
        return Report(
            evaluation_id=evaluation.id,
            subject=spec.subject,
            name=spec.name,
            candidate_digest=spec.candidate_digest,
            baseline_digest=spec.baseline_digest,
            verdict=found.verdict,
            examples=len(examples),
            measures=found.measures,
            created_at=self._clock.now(),
            dataset=spec.dataset,
            dataset_version=evaluation.dataset_version,
            reasons=(*found.reasons, *_notes(results)),
            confidence=CONFIDENCE,
            rules=rules_told(spec.rules, seed),
        )


def expected_tools(expected: JsonValue) -> list[str]:
    """The tools that the right answer calls."""
    calls = expected.get("tool_calls") if isinstance(expected, dict) else None
    return [str(one.get("tool", "")) for one in calls if isinstance(one, dict)] if isinstance(calls, list) else []


def _recorded(recorded: list[Recorded], tool: str, arguments: JsonValue) -> Recorded | None:
    """The same call's recorded answer; without one, that of the only recorded call of the tool."""
    wanted = canonical(arguments)
    same = [one for one in recorded if one.tool == tool and canonical(one.arguments) == wanted]
    of_tool = [one for one in recorded if one.tool == tool]
    return same[0] if same else of_tool[0] if len(of_tool) == 1 else None


def _notes(results: Sequence[Result]) -> Iterator[str]:
    """What went wrong most often, so that nobody has to look for it."""
    notes = [one.note for one in results if one.note]
    for note in sorted(set(notes), key=lambda one: (-notes.count(one), one))[:3]:
        yield f"{notes.count(note)} answers: {note}"


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value)
