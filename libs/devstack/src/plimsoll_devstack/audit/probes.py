"""The five questions put to a mesh: each probe does something to it and tells what came of it."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import Run, RunStatus
from plimsoll_client.observations import Verdict
from plimsoll_runtime.errors import NotFound, PlimsollError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, dump_json

from plimsoll_devstack.audit.grading import Answer, Check, judged, unmeasured
from plimsoll_devstack.chaos import injected, packaged_plans
from plimsoll_devstack.files import write_private
from plimsoll_devstack.state import MeshFiles

OWN_AGENT = "audit-canary"
_RUN_CAP_S = 60.0
_WAIT_S = 20.0
_POLL_S = 0.2
_IN_FORCE_S = 0.5  # services look for a plan five times a second
_COLLECTION = "audit-notes"
_NOTE = b"# Lanterns\n\nThe lantern at the northern pier burns green.\n\n# Ropes\n\nA hawser is a thick rope.\n"
_TOOL = """category: clerk
tools:
  - name: clerk_opening_hours
    version: "1"
    description: Finds the opening hours of the shop in a city
    arguments: {type: object, required: [city], properties: {city: {type: string, enum: [Kiel, Bremen]}}}
    result: {type: object, required: [hours], properties: {hours: {type: string}}}
    effect: read_only
    risk: low
    timeout: 5s
"""
_CODE = """async def clerk_opening_hours(arguments, context):
    return {"hours": "from 9 to 18 in " + arguments["city"]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is audited, and what the audit may do to it.

    Attributes:
    input      of each run; None for the audit's own agent, whose every run has a mark of its own
    tools      the folder that new tools may be put into; None where the audit has none
    faults     the files of the mesh, one of which takes fault plans; None where faults are not allowed
    at_once    runs submitted side by side
    per_fault  runs under each fault plan
    """

    client: Client
    agent: str
    input: JsonObject | None
    tools: Path | None
    faults: MeshFiles | None
    seed: int
    at_once: int
    per_fault: int


async def answers(subject: Subject) -> list[Answer]:
    """All five, in the order of their questions."""
    probes = (_scalability, _modularity, _learning, _resilience, _future)
    return [await probe(subject) for probe in probes]


async def _scalability(subject: Subject) -> Answer:
    marks = _marks(subject, subject.at_once)
    began = time.monotonic()
    runs = await _all(subject, marks)
    drained_s = time.monotonic() - began
    good = [run for run in runs if run is not None and run.status is RunStatus.SUCCEEDED]
    times = sorted(run.duration_s or 0.0 for run in good) or [0.0]
    tail = times[min(len(times) - 1, int(len(times) * 0.95))]
    checks = [
        judged(
            f"{subject.at_once} runs submitted at the same moment all end well",
            kept=len(good) == subject.at_once,
            evidence=f"{len(good)} of {subject.at_once}; half within {statistics.median(times):.2f} s, 95 of 100 within {tail:.2f} s",
            remedy="See `plimsoll errors` for what failed, and add workers: `plimsoll up --workers N`",
        ),
        judged(
            "the spike became a queue and no error",
            kept=None not in runs,
            evidence=f"{runs.count(None)} refused or unfinished; the queue was empty after {drained_s:.1f} s",
            remedy="Raise the limits of the gateway, or add workers",
        ),
    ]
    if subject.input is None:
        strangers = sum(_foreign(run, mark) for run, mark in zip(runs, marks, strict=True) if run is not None)
        remedy = "A run has read what is another's: report it with its journal"
        checks.append(judged("no run saw another's mark", kept=not strangers, evidence=f"{strangers} foreign marks", remedy=remedy))
    question = "can 100 instances run at once without reading each other's state?"
    return Answer(dimension="Scalability", question=question, checks=checks)


async def _modularity(subject: Subject) -> Answer:
    checks = [await _new_tool(subject), await _retrieval_alone(subject.client), _swap()]
    question = "can a tool be added without touching the graph, retrieval be tried alone, the provider be swapped?"
    return Answer(dimension="Modularity", question=question, checks=checks)


async def _new_tool(subject: Subject) -> Check:
    what = "a tool that comes while the mesh runs is used by an agent, and nothing else is changed"
    if subject.tools is None:
        return unmeasured(what, why="this mesh takes its tools from your own folder", remedy="Run `plimsoll audit` without --data")
    (subject.tools / "clerk.py").write_text(_CODE)
    (subject.tools / "clerk.yaml").write_text(_TOOL)
    began = time.monotonic()
    while "clerk_opening_hours" not in {tool.name for tool in await subject.client.tools.list()}:
        if time.monotonic() - began > _WAIT_S:
            return judged(what, kept=False, evidence=f"not offered after {_WAIT_S:g} s", remedy="See the log of tool-dispatcher")
        await asyncio.sleep(_POLL_S)
    offered_s = time.monotonic() - began
    run = await _one(subject.client, "audit-clerk", {"question": "What are the opening hours of the shop in Kiel?"})
    said = dump_json(run.output) if run is not None else ""
    evidence = f"offered after {offered_s:.1f} s, {'used' if 'clerk_opening_hours' in said else 'not used'}; 0 files of the agent touched"
    return judged(what, kept="clerk_opening_hours" in said, evidence=evidence, remedy="See the journal of the last run of audit-clerk")


async def _retrieval_alone(client: Client) -> Check:
    await client.memory.ingest(_COLLECTION, "audit.md", _NOTE, media_type="text/markdown")
    try:
        found = await client.memory.search(_COLLECTION, "Which colour has the lantern at the pier?", limit=1)
    finally:
        await client.memory.delete_collection(_COLLECTION)
    text = found.passages[0].text if found.passages else ""
    evidence = f"one question, one answer, no model asked: {'the right' if 'green' in text else 'a wrong'} passage came first"
    return judged("retrieval can be tried without reasoning", kept="green" in text, evidence=evidence, remedy="See the log of memory")


def _swap() -> Check:
    return unmeasured(
        "the provider is swapped by configuration",
        why="takes a second provider; 0 files of an agent name one",
        remedy="Set the address and key of another provider, start the mesh anew, and run the audit again",
    )


async def _learning(subject: Subject) -> Answer:
    client, agent = subject.client, subject.agent
    checks = []
    if subject.input is None:
        run = await _one(client, agent, {"canary": f"canary-{subject.seed}-fail"})
        remedy = "See the log of feedback"
        labelled = run is not None and await _told(client, run.id, failed_only=True)
        category = run.failure.category.value if run is not None and run.failure else "none"
        evidence = f"category {category}; {'labelled' if labelled else 'not found'} in feedback"
        checks.append(judged("a failure is caught with its category and counted", kept=labelled, evidence=evidence, remedy=remedy))
    else:
        run = await _one(client, agent, subject.input)
        what, why = "a failure is caught with its category and counted", "the audit knows no input that makes your agent fail"
        checks.append(unmeasured(what, why=why, remedy="Run `plimsoll audit` without --agent"))
    if run is not None and await _told(client, run.id):
        signal = await client.feedback.signal(run.id, Verdict(good=False), comment="audit", key=f"audit-{run.id}")
        kept = signal.id in {one.id for one in await client.feedback.signals(run.id)}
        evidence = "recorded and found with its run" if kept else "not found"
        checks.append(judged("a person's verdict is kept with the run", kept=kept, evidence=evidence, remedy="See the log of feedback"))
    remedy = "Make a dataset of your runs with `plimsoll datasets`, then `plimsoll evaluations`"
    checks.append(unmeasured("a worse version is refused", why="takes labelled examples of your own", remedy=remedy))
    question = "is there a loop from failures in production to better prompts and models?"
    return Answer(dimension="Continuous learning", question=question, checks=checks)


async def _told(client: Client, run_id: str, *, failed_only: bool = False) -> bool:
    """Whether feedback hears of a run, or of its failure, in time."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        try:
            if await client.feedback.operations(run_id=run_id, failed_only=failed_only, limit=1):
                return True
        except NotFound:
            pass  # it has not been told yet
        await asyncio.sleep(_POLL_S)
    return False


async def _resilience(subject: Subject) -> Answer:
    question = "is it designed what happens when each dependency fails?"
    checks = []
    for name, plan in packaged_plans().items():
        what = f"{name}: every run ends, a failure says its category, and the next run succeeds"
        if subject.faults is None:
            checks.append(unmeasured(what, why="this mesh allows no faults", remedy="Start it with `plimsoll up --faults`"))
        else:
            checks.append(await _under(subject, subject.faults, plan, what))
    return Answer(dimension="Resilience", question=question, checks=checks)


async def _under(subject: Subject, files: MeshFiles, plan: Path, what: str) -> Check:
    """Runs while a plan is in force, and one after it. A plan that met none of them has shown nothing."""
    before = await asyncio.to_thread(_faults, files)
    write_private(files.faults, await asyncio.to_thread(plan.read_text))
    try:
        await asyncio.sleep(_IN_FORCE_S)
        runs = await _all(subject, _marks(subject, subject.per_fault))
        met = await asyncio.to_thread(_faults, files) - before
    finally:
        write_private(files.faults, "")
    good = sum(run is not None and run.status is RunStatus.SUCCEEDED for run in runs)
    told = Counter(run.failure.category for run in runs if run is not None and run.failure)
    lost = runs.count(None) + told[Category.INTERNAL]
    failed = ", ".join(f"{count} {category.value}" for category, count in told.items()) or "none failed"
    began = time.monotonic()
    after = await _one(subject.client, subject.agent, _marks(subject, 1)[0])
    evidence = f"{met} faults, {good} of {len(runs)} succeeded, {failed}, {runs.count(None)} without an end in time; the next run took {time.monotonic() - began:.1f} s"
    if met <= 0:
        return unmeasured(
            what, why=f"no run met a fault ({evidence})", remedy="Raise --per-fault, or audit an agent that uses the dependency"
        )
    recovered = after is not None and after.status is RunStatus.SUCCEEDED
    remedy = "Give the steps that failed a `retry` or a route in `on_failure`; see `plimsoll errors`"
    return judged(what, kept=not lost and recovered, evidence=evidence, remedy=remedy)


def _faults(files: MeshFiles) -> int:
    """How many faults all services have met so far."""
    return sum(counts.total() for counts in injected(files).values())


async def _future(subject: Subject) -> Answer:
    models = await subject.client.models.list()
    names = ", ".join(f"{model.provider}/{model.name}" for model in models)
    real = {model.provider for model in models if not model.rehearsal}
    checks = [judged("the mesh has a model that can answer", kept=bool(models), evidence=names or "none", remedy="Configure a provider")]
    what, why = (
        "a second provider can take over",
        f"{len(real)} providers are configured: {', '.join(sorted(real)) or 'only the rehearsal model'}",
    )
    if len(real) > 1:
        checks.append(judged(what, kept=True, evidence=why, remedy=""))
    else:
        checks.append(unmeasured(what, why=why, remedy="Configure two providers; the second answers when the first is away"))
    question = "how many files change when the provider is replaced?"
    return Answer(dimension="Future-proofing", question=question, checks=checks)


def _marks(subject: Subject, count: int) -> Sequence[JsonObject]:
    if subject.input is not None:
        return [subject.input] * count
    dice = random.Random()  # noqa: S311 - marks differ from audit to audit; the seed is that of the faults
    return [{"canary": f"canary-{dice.getrandbits(60):x}"} for _ in range(count)]


def _foreign(run: Run, mark: JsonObject) -> bool:
    """Whether the output holds anything but the run's own mark."""
    own = str(mark["canary"])
    seen = run.output.get("seen") if isinstance(run.output, dict) else None
    return run.status is RunStatus.SUCCEEDED and seen != [own, f"{own}-1", f"{own}-2"]


async def _all(subject: Subject, inputs: Sequence[JsonObject]) -> list[Run | None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one(subject.client, subject.agent, each)) for each in inputs]
    return [task.result() for task in tasks]


async def _one(client: Client, agent: str, given: JsonObject) -> Run | None:
    """A run to its end; None when it was refused for good, or has not ended in time. The key makes repeats one run."""
    key = f"audit-{random.getrandbits(80):x}"
    until = time.monotonic() + _RUN_CAP_S
    while (left := until - time.monotonic()) > 0:
        try:
            run = await client.runs.submit(agent, given, key=key)
            return await client.runs.wait(run.id, timeout_s=left)
        except PlimsollError as error:
            if not error.retryable:
                return None
            await asyncio.sleep(_POLL_S)
    return None
