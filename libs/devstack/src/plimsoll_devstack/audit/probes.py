"""The five questions put to a mesh: each probe does something to it and tells what came of it."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import Run, RunStatus
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, dump_json

from plimsoll_devstack.audit.grading import Answer, Check, judged, unmeasured
from plimsoll_devstack.audit.learning import learning
from plimsoll_devstack.audit.runs import MARK, POLL_S, WAIT_S, Subject, Workshop, every, marked, marks, one
from plimsoll_devstack.audit.swap import dialects, swapped
from plimsoll_devstack.chaos import injected, packaged_plans
from plimsoll_devstack.files import write_private
from plimsoll_devstack.state import MeshFiles

OWN_AGENT = "audit-canary"
_SPIKE_CAP_S = 240.0
_BACK_WITHIN_S = 90.0
_PLAN_S = 15.0
_UNDER_CAP_S = 120.0
_IN_FORCE_S = 0.5  # services look for a plan five times a second
_KILLED = (
    "gateway",
    "orchestrator-api",
    "orchestrator-worker-1",
    "tool-dispatcher",
    "model-router",
    "memory",
    "feedback",
    "postgres",
    "nats",
    "redis",
)
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


async def answers(subject: Subject) -> list[Answer]:
    """All five, in the order of their questions. A question that cannot be put is answered by why."""
    asked: Sequence[tuple[str, str, Callable[[Subject], Awaitable[list[Check]]]]] = (
        ("Scalability", "can 100 instances run at once without reading each other's state, and 1,000?", _scalability),
        ("Modularity", "can a tool be added without touching the graph, retrieval be tried alone, the provider be swapped?", _modularity),
        ("Continuous learning", "is there a loop from failures in production to better prompts and models?", learning),
        ("Resilience", "is it designed what happens when each dependency fails?", _resilience),
        ("Future-proofing", "how many files change when the provider is replaced?", _future),
    )
    return [Answer(dimension=name, question=question, checks=await _put(subject, probe)) for name, question, probe in asked]


async def _put(subject: Subject, probe: Callable[[Subject], Awaitable[list[Check]]]) -> list[Check]:
    try:
        return await probe(subject)
    except PlimsollError as error:
        why = f"{error.reason}: {error.message}"
        return [
            judged("the question can be put to the end", kept=False, evidence=why, remedy=error.remedy or "See the logs of the services")
        ]


async def _scalability(subject: Subject) -> list[Check]:
    return [check for count in dict.fromkeys(subject.at_once) for check in await _side_by_side(subject, count)]


async def _side_by_side(subject: Subject, count: int) -> list[Check]:
    """So many runs at the same moment: how they end, what became of the queue, and whether each saw its own mark."""
    inputs, began = marks(subject, count), time.monotonic()
    runs = await every(subject, inputs, cap_s=_SPIKE_CAP_S)
    drained_s = time.monotonic() - began
    good = [run for run in runs if run is not None and run.status is RunStatus.SUCCEEDED]
    times = sorted(run.duration_s or 0.0 for run in good) or [0.0]
    tails = ", ".join(f"{share:g} of 100 within {times[min(len(times) - 1, int(len(times) * share / 100))]:.2f} s" for share in (95, 99))
    checks = [
        judged(
            f"{count} runs submitted at the same moment all end well",
            kept=len(good) == count,
            evidence=f"{len(good)} of {count}; half within {statistics.median(times):.2f} s, {tails}",
            remedy="See `plimsoll errors` for what failed, and add workers: `plimsoll up --workers N`",
        ),
        judged(
            f"the spike of {count} became a queue and no error",
            kept=None not in runs,
            evidence=f"{runs.count(None)} refused or unfinished; the queue was empty after {drained_s:.1f} s, {count / drained_s:.1f} runs a second",
            remedy="Raise the limits of the gateway, or add workers",
        ),
    ]
    return [*checks, apart(inputs, runs, own=subject.input is None)]


def apart(inputs: Sequence[JsonObject], runs: Sequence[Run | None], *, own: bool) -> Check:
    """Whether each run has seen no mark but its own; one of the audit's own agent also has it wherever it should."""
    what = f"none of {len(inputs)} runs saw another's mark"
    ended = [(run, given) for run, given in zip(runs, inputs, strict=True) if run is not None and run.status is RunStatus.SUCCEEDED]
    found = [(marked([run.state, run.output]), marked(given)) for run, given in ended]
    strangers = sum(bool(held - given) for held, given in found) + sum(own and _incomplete(run, given) for run, given in ended)
    kept = sum(held == given != set() for held, given in found)
    if not strangers and not kept:
        why = "all runs were given the same" if not marked(inputs[0]) else "no run handed its mark on"
        return unmeasured(what, why=why, remedy=f"Write {MARK} into a text of the input that your agent keeps: each run gets its own there")
    evidence = f"{strangers} of {len(ended)} hold a foreign mark, {kept} hold just their own"
    return judged(what, kept=not strangers, evidence=evidence, remedy="A run has read what is another's: report it with its journal")


async def _modularity(subject: Subject) -> list[Check]:
    return [await _new_tool(subject), await _retrieval_alone(subject.client), await swapped(subject)]


async def _new_tool(subject: Subject) -> Check:
    what = "a tool that comes while the mesh runs is used by an agent, and nothing else is changed"
    if subject.workshop is None:
        return unmeasured(what, why="this mesh takes its tools from your own folder", remedy="Run `plimsoll audit` without --data")
    await asyncio.to_thread(_write_tool, subject.workshop.tools)
    began = time.monotonic()
    while "clerk_opening_hours" not in {tool.name for tool in await subject.client.tools.list()}:
        if time.monotonic() - began > WAIT_S:
            return judged(what, kept=False, evidence=f"not offered after {WAIT_S:g} s", remedy="See the log of tool-dispatcher")
        await asyncio.sleep(POLL_S)
    offered_s = time.monotonic() - began
    run = await one(subject.client, "audit-clerk", {"question": "What are the opening hours of the shop in Kiel?"})
    said = dump_json(run.output) if run is not None else ""
    evidence = f"offered after {offered_s:.1f} s, {'used' if 'clerk_opening_hours' in said else 'not used'}; 0 files of the agent touched"
    return judged(what, kept="clerk_opening_hours" in said, evidence=evidence, remedy="See the journal of the last run of audit-clerk")


def _write_tool(folder: Path) -> None:
    (folder / "clerk.py").write_text(_CODE)
    (folder / "clerk.yaml").write_text(_TOOL)


async def _retrieval_alone(client: Client) -> Check:
    await client.memory.ingest(_COLLECTION, "audit.md", _NOTE, media_type="text/markdown")
    try:
        found = await client.memory.search(_COLLECTION, "Which colour has the lantern at the pier?", limit=1)
    finally:
        await client.memory.delete_collection(_COLLECTION)
    text = found.passages[0].text if found.passages else ""
    evidence = f"one question, one answer, no model asked: {'the right' if 'green' in text else 'a wrong'} passage came first"
    return judged("retrieval can be tried without reasoning", kept="green" in text, evidence=evidence, remedy="See the log of memory")


async def _resilience(subject: Subject) -> list[Check]:
    checks = []
    faults = "every run ends, a failure says its category, and the next run succeeds"
    kills = "every run ends, it comes back by itself, and the next run succeeds"
    if subject.faults is None:
        remedy = "Start it with `plimsoll up --faults`"
        checks.append(unmeasured(f"faults of each dependency: {faults}", why="this mesh allows no faults", remedy=remedy))
    else:
        checks += [await _under(subject, subject.faults, plan, f"{name}: {faults}") for name, plan in packaged_plans().items()]
    if subject.workshop is None:
        what, why = f"each service and each server killed: {kills}", "the audit kills nothing in a mesh that is not its own"
        checks.append(unmeasured(what, why=why, remedy="Run `plimsoll audit` without --data"))
    else:
        checks += [await _killed(subject, subject.workshop, part, f"killed {part}: {kills}") for part in _KILLED]
    return checks


async def _under(subject: Subject, files: MeshFiles, plan: Path, what: str) -> Check:
    """Runs while a plan is in force, and one after it. A plan that met none of them has shown nothing.

    It ends with the runs, or after a while: what it held up, behind an open breaker for instance, has to go on by itself then.
    """
    before = await asyncio.to_thread(_faults, files)
    write_private(files.faults, await asyncio.to_thread(plan.read_text))
    async with asyncio.TaskGroup() as group:
        try:
            await asyncio.sleep(_IN_FORCE_S)
            running = group.create_task(every(subject, marks(subject, subject.per_fault), cap_s=_UNDER_CAP_S))
            await asyncio.wait([running], timeout=_PLAN_S)
            met = await asyncio.to_thread(_faults, files) - before
        finally:
            write_private(files.faults, "")
    runs = running.result()
    check = await _afterwards(subject, runs, what, f"{met} faults")
    if met > 0:
        return check
    remedy = "Raise --per-fault, or audit an agent that uses the dependency"
    return unmeasured(what, why=f"no run met a fault ({check.evidence})", remedy=remedy)


async def _killed(subject: Subject, shop: Workshop, part: str, what: str) -> Check:
    """Runs submitted at the moment of a death, and one after it."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(every(subject, marks(subject, subject.per_fault)))
        back = group.create_task(_timed(lambda: _kill(shop, part)))
    return await _afterwards(subject, running.result(), what, f"back after {back.result():.1f} s")


async def _kill(shop: Workshop, part: str) -> None:
    await shop.mesh.kill(part)
    await shop.mesh.ready(part, within_s=_BACK_WITHIN_S)


async def _timed(act: Callable[[], Awaitable[None]]) -> float:
    began = time.monotonic()
    await act()
    return time.monotonic() - began


async def _afterwards(subject: Subject, runs: Sequence[Run | None], what: str, done: str) -> Check:
    """Whether all ended, none for a fault of ours, and the next run is well again."""
    good = sum(run is not None and run.status is RunStatus.SUCCEEDED for run in runs)
    told = Counter(run.failure.category for run in runs if run is not None and run.failure)
    lost = runs.count(None) + told[Category.INTERNAL]
    failed = ", ".join(f"{count} {category.value}" for category, count in told.items()) or "none failed"
    began = time.monotonic()
    after = await one(subject.client, subject.agent, marks(subject, 1)[0])
    next_s = time.monotonic() - began
    unended = f", {runs.count(None)} without an end in time" if None in runs else ""
    evidence = f"{done}; {good} of {len(runs)} runs succeeded, {failed}{unended}; the next run took {next_s:.1f} s"
    recovered = after is not None and after.status is RunStatus.SUCCEEDED
    remedy = "Give the steps that failed a `retry` or a route in `on_failure`; see `plimsoll errors`"
    return judged(what, kept=not lost and recovered, evidence=evidence, remedy=remedy)


def _faults(files: MeshFiles) -> int:
    """How many faults all services have met so far."""
    return sum(counts.total() for counts in injected(files).values())


async def _future(subject: Subject) -> list[Check]:
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
    return checks + await dialects(subject)


def _incomplete(run: Run, given: JsonObject) -> bool:
    """Whether a run of the audit's own agent has lost its mark on the way."""
    own = given.get("canary")
    seen = run.output.get("seen") if isinstance(run.output, dict) else None
    return seen != [own, f"{own}-1", f"{own}-2"]
