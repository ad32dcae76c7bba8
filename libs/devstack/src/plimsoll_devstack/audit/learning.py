"""Continuous learning: a failure is injected, caught, flagged, labelled, evaluated and mended, and a bad candidate refused."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from plimsoll_client.learning import (
    DatasetDraft,
    Evaluation,
    EvaluationState,
    EvaluationSubject,
    EvaluationVerdict,
    Improvement,
    ImprovementState,
    LowConfidence,
    Sampled,
)
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import Example, RunStatus
from plimsoll_client.observations import Verdict
from plimsoll_runtime.errors import NotFound, PlimsollError
from plimsoll_runtime.json_types import dump_json

from plimsoll_devstack.audit.grading import Check, judged, unmeasured
from plimsoll_devstack.audit.runs import WAIT_S, Subject, becomes, marks, one
from plimsoll_devstack.files import write_private
from plimsoll_devstack.state import MeshFiles

SORTER = Path(__file__).parent / "bundles" / "audit-sorter"
"""The agent that `mended` and `refused` are about."""

LEARNS = {
    "PLIMSOLL_MODEL_ROUTER_PROTECTED_LABELS": "production",  # as in production; on a machine of one's own nothing is protected
    "PLIMSOLL_FEEDBACK_SELECT_EVERY_S": "0.5",
}
"""Settings of a mesh in which they can be tried."""

_MENDED = "a kind of question that goes wrong is flagged, labelled, evaluated and mended"
_REFUSED = "a worse version is refused"
_SORTER, _PROMPT, _DATASET = "audit-sorter", "audit-sort", "audit-sorting"
_QUESTIONS = 180  # three in ten are held out, and a verdict asks for thirty of those
_AT_ONCE = 12
_LEARNED_WITHIN_S = 120.0
_IN_FORCE_S = 0.5
_KINDS = {
    "repair": (
        "mends repairs fixes welds patches restores",
        "sail mast engine hull rudder propeller anchor winch",
        "torn broken bent leaking",
    ),
    "berth": ("books reserves rents offers keeps assigns", "berth mooring jetty place pontoon slip box buoy", "free cheap quiet sheltered"),
    "weather": (
        "forecasts expects measures predicts reports warns",
        "storm wind fog swell tide rain gust cloud",
        "strong sudden rising dense",
    ),
}
_NEW = "weather"  # of this kind the prompt shows no example
_BREAKS = dump_json(
    {
        "name": "audit-breaks",
        "seed": 1,
        "rules": [{"edge": "tool", "kind": "error"}, {"edge": "provider", "kind": "error"}, {"edge": "embedder", "kind": "error"}],
    }
)


async def learning(subject: Subject) -> list[Check]:
    """What answers the third question."""
    return [await _failure(subject), await _verdict(subject), await mended(subject.client), await refused(subject.client)]


async def _failure(subject: Subject) -> Check:
    """The audit's own agent fails when it is asked to; another one when its tools and providers are made to fail."""
    what = "a failure is caught with its category and counted"
    client, given = subject.client, subject.input or {"canary": f"canary-{subject.seed}-fail"}
    if subject.input is not None and subject.faults is None:
        return unmeasured(
            what, why="the audit knows no input that makes your agent fail", remedy="Start the mesh with `plimsoll up --faults`"
        )
    if subject.input is not None and subject.faults is not None:
        run_id = await _broken(subject, subject.faults)
    else:
        run = await one(client, subject.agent, given)
        run_id = run.id if run is not None else ""
    if not run_id or not await told(client, run_id, failed_only=True):
        return judged(what, kept=False, evidence="not found in feedback", remedy="See the log of feedback")
    failed = await client.feedback.operations(run_id=run_id, failed_only=True, limit=20)
    categories = sorted({each.failure.category.value for each in failed if each.failure is not None})
    return judged(
        what, kept=bool(categories), evidence=f"labelled in feedback as {', '.join(categories)}", remedy="See the log of feedback"
    )


async def _broken(subject: Subject, files: MeshFiles) -> str:
    """A run whose tools and providers all fail, until its failure is known: it need not end, it may well wait for a person."""
    write_private(files.faults, _BREAKS)
    try:
        await asyncio.sleep(_IN_FORCE_S)
        run = await subject.client.runs.submit(subject.agent, marks(subject, 1)[0])
        await told(subject.client, run.id, failed_only=True)
    finally:
        write_private(files.faults, "")
    return run.id


async def _verdict(subject: Subject) -> Check:
    what, client = "a person's verdict is kept with the run", subject.client
    run = await one(client, subject.agent, marks(subject, 1)[0])
    remedy = "See the log of feedback"
    if run is None:
        return judged(what, kept=False, evidence="the run did not end", remedy=remedy)
    run_id = run.id

    async def recorded() -> bool:
        try:
            signal = await client.feedback.signal(run_id, Verdict(good=False), comment="audit", key=f"audit-{run_id}")
        except NotFound:
            return False  # the run has not been told yet
        return signal.id in {each.id for each in await client.feedback.signals(run_id)}

    kept = await becomes(recorded)
    return judged(what, kept=kept, evidence="recorded and found with its run" if kept else f"not found after {WAIT_S:g} s", remedy=remedy)


async def told(client: Client, run_id: str, *, failed_only: bool = False) -> bool:
    """Whether feedback hears of a run, or of its failure, in time."""

    async def known() -> bool:
        try:
            return bool(await client.feedback.operations(run_id=run_id, failed_only=failed_only, limit=1))
        except NotFound:
            return False  # it has not been told yet

    return await becomes(known)


async def mended(client: Client) -> Check:
    """Questions of a kind that the prompt was never shown; the audit plays the person who labels, and nothing else."""
    asked = _questions(_QUESTIONS, random.Random("asked"))  # noqa: S311 - repeatable, not secret
    draft = DatasetDraft(name=_DATASET, prompt=_PROMPT, rules=(LowConfidence(0.6), Sampled(1.0)), description="of an audit")
    await client.datasets.put(draft)
    before = await _right(client, asked)
    unsure, labelled = await _labelled(client, dict(asked))
    improvement = await client.improvements.start(_PROMPT, dataset=_DATASET, key="audit-improvement")
    ended = await _ended(client, improvement)
    after = await _right(client, _questions(40, random.Random("fresh")))  # noqa: S311 - repeatable, not secret
    evidence = (
        f"{before:.0%} right before; {unsure} calls flagged as unsure, {labelled} labelled; the better version was {ended.state.value}"
        f"{'' if ended.state is ImprovementState.PROMOTED else f' ({ended.reason})'}; {after:.0%} of fresh ones right afterwards"
    )
    kept = ended.state is ImprovementState.PROMOTED and after > before
    return judged(_MENDED, kept=kept, evidence=evidence, remedy="See `plimsoll improve list` and the log of feedback")


async def refused(client: Client) -> Check:
    """A version whose every example is wrong is evaluated, and then asked to go to production in spite of that."""
    production = await client.prompts.get(_PROMPT)
    kinds = list(_KINDS)
    wrong = tuple(Example(user=each.user, assistant=_next(kinds, str(each.assistant))) for each in production.draft.examples)
    planted = (await client.prompts.register(replace(production.draft, examples=wrong))).prompt
    subject = EvaluationSubject.PROMPT
    started = await client.evaluations.start(
        _DATASET, subject, _PROMPT, planted.digest, baseline_label="production", key="audit-evaluation"
    )
    evaluation = await _evaluated(client, started)
    try:
        await client.prompts.register(planted.draft, labels=("production",))
        door = "its move to production was let through"
    except PlimsollError as error:
        door = f"its move to production was refused as {error.reason}"
    stays = (await client.prompts.get(_PROMPT)).digest == production.digest
    kept = evaluation.verdict is EvaluationVerdict.FAILED and stays
    evidence = f"evaluated against {production.digest[:8]}: {evaluation.verdict.value}; {door}"
    return judged(_REFUSED, kept=kept, evidence=evidence, remedy="Protect the label: PLIMSOLL_MODEL_ROUTER_PROTECTED_LABELS=production")


def _questions(count: int, dice: random.Random) -> list[tuple[str, str]]:
    """Questions and their kinds, no two alike; more of the kind that is new."""
    found: dict[str, str] = {}
    while len(found) < count:
        kind = dice.choice([*_KINDS, _NEW])
        verbs, things, ways = (words.split() for words in _KINDS[kind])
        day = dice.choice(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])
        text = f"Who {dice.choice(verbs)} the {dice.choice(ways)} {dice.choice(things)} or {dice.choice(things)} on {day}?"
        found[text] = kind
    return list(found.items())


async def _right(client: Client, questions: Sequence[tuple[str, str]]) -> float:
    """The share that the sorter gets right."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def sorted_right(text: str, kind: str) -> bool:
        async with gate:
            run = await one(client, _SORTER, {"question": text})
        return run is not None and run.status is RunStatus.SUCCEEDED and isinstance(run.output, dict) and run.output.get("kind") == kind

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sorted_right(text, kind)) for text, kind in questions]
    return sum(task.result() for task in tasks) / len(tasks)


async def _labelled(client: Client, truth: dict[str, str]) -> tuple[int, int]:
    """Answer what the queue of annotators shows until it stays empty: how many were there for being unsure, and how many in all."""
    unsure = labelled = 0

    async def emptied() -> bool:
        nonlocal unsure, labelled
        items = await client.datasets.claim(_DATASET, limit=100)
        for item in items:
            text = str(item.input.get("question", "")) if isinstance(item.input, dict) else ""
            if text in truth:
                await client.datasets.annotate(item.id, truth[text])
                labelled += 1
            else:
                await client.datasets.discard(item.id)
            unsure += any("confidence" in reason for reason in item.reasons)
        return labelled >= len(truth)

    await becomes(emptied, within_s=_LEARNED_WITHIN_S)
    return unsure, labelled


async def _ended(client: Client, improvement: Improvement) -> Improvement:
    under_way = {ImprovementState.DRAFTING, ImprovementState.EVALUATING, ImprovementState.PROMOTING}
    now = improvement

    async def at_rest() -> bool:
        nonlocal now
        now = await client.improvements.get(improvement.id)
        return now.state not in under_way

    await becomes(at_rest, within_s=_LEARNED_WITHIN_S)
    return now


async def _evaluated(client: Client, evaluation: Evaluation) -> Evaluation:
    now = evaluation

    async def done() -> bool:
        nonlocal now
        now = await client.evaluations.get(evaluation.id)
        return now.state not in {EvaluationState.WAITING, EvaluationState.RUNNING}

    await becomes(done, within_s=_LEARNED_WITHIN_S)
    return now


def _next(kinds: Sequence[str], kind: str) -> str:
    return kinds[(kinds.index(kind) + 1) % len(kinds)] if kind in kinds else kinds[0]
