"""The history checker: reads everything that runs left behind, and names every invariant that does not hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from plimsoll_graph.graph import Graph
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    ChildrenJoined,
    ChildrenStarted,
    Entry,
    ModelTurn,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    ToolTurn,
    VersionChanged,
    decode_entry,
)
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.snapshot import decode_run

_BETWEEN_QUOTES = re.compile(r'(?=["]([^"]*)["])')  # whatever stands between two quotes, also when one of them ends another text


@dataclass(frozen=True, slots=True)
class Written:
    seq: int
    epoch: int
    at: datetime
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the table of runs says of one."""

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    status: str
    epoch: int
    seq: int
    steps: int
    tokens: int
    wakes: bool
    held: bool
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that runs left behind.

    Attributes:
    texts      the entries of each run, as they are stored
    snapshots  by run
    graphs     by (agent, digest)
    outbox     (run id, first seq, last seq) of what waits to be published
    """

    rows: Sequence[Row]
    journals: Mapping[str, Sequence[Written]]
    texts: Mapping[str, str]
    snapshots: Mapping[str, Run]
    graphs: Mapping[tuple[str, str], Graph]
    outbox: Sequence[tuple[str, int, int]]


async def violations(pool: asyncpg.Pool, canaries: Sequence[str] = ()) -> list[str]:
    """What does not hold in the database; see `problems`."""
    return problems(await _read(pool), canaries)


def problems(history: History, canaries: Sequence[str] = ()) -> list[str]:
    """What does not hold, in words; empty when all is well. A canary is a text that only one run was given, as `canary` in its input."""
    known = {row.run_id for row in history.rows}
    found = [f"{run_id}: a journal without a run" for run_id in history.journals if run_id not in known]
    for row in history.rows:
        journal = history.journals.get(row.run_id, ())
        wrong = [*_order(row, journal), *_steps(journal), *_routed(journal), *_end(row, journal)]
        wrong = wrong or _fold(history, row, journal)
        found += [f"{row.run_id}: {problem}" for problem in wrong]
    found += _children(history.journals)
    found += _isolation(history.journals, history.texts, canaries)
    found += _outbox(history)
    return found


async def _read(pool: asyncpg.Pool) -> History:
    agents = PostgresAgentStore(pool)
    rows = [_row(record) for record in await pool.fetch("select * from runs order by run_id")]
    journals: dict[str, list[Written]] = {row.run_id: [] for row in rows}
    texts: dict[str, str] = {}
    for record in await pool.fetch("select * from journal order by run_id, seq"):
        run_id = record["run_id"]
        journals.setdefault(run_id, []).append(Written(record["seq"], record["epoch"], record["at"], decode_entry(record["entry"])))
        texts[run_id] = texts.get(run_id, "") + record["entry"]
    graphs = {}
    for tenant, agent, digest in {(row.tenant, row.agent, row.agent_digest) for row in rows}:
        graph = await agents.graph(tenant, agent, digest)
        assert graph is not None
        graphs[agent, digest] = graph
    outbox = [
        stretch
        for record in await pool.fetch("select run_ids, first_seqs, last_seqs from journal_outbox order by position")
        for stretch in zip(record["run_ids"], record["first_seqs"], record["last_seqs"], strict=True)
    ]
    snapshots = {record["run_id"]: decode_run(record["body"]) for record in await pool.fetch("select run_id, body from snapshots")}
    return History(rows=rows, journals=journals, texts=texts, snapshots=snapshots, graphs=graphs, outbox=outbox)


def _row(record: asyncpg.Record) -> Row:
    return Row(
        run_id=record["run_id"],
        tenant=record["tenant"],
        agent=record["agent"],
        agent_digest=record["agent_digest"],
        status=record["status"],
        epoch=record["epoch"],
        seq=record["seq"],
        steps=record["steps"],
        tokens=record["input_tokens"] + record["output_tokens"],
        wakes=record["wake_at"] is not None,
        held=record["worker"] is not None,
        finished=record["finished_at"] is not None,
    )


def _order(row: Row, journal: Sequence[Written]) -> list[str]:
    """A journal has no gap and no fork, epochs only rise, and the run's row says what the journal says."""
    problems = []
    if [one.seq for one in journal] != list(range(1, len(journal) + 1)):
        problems.append(f"the journal has a gap: {[one.seq for one in journal]}")
    by_workers = [one.epoch for one in journal if one.epoch]
    if by_workers != sorted(by_workers):
        problems.append(f"epochs fall: {by_workers}")
    if journal and row.seq != journal[-1].seq:
        problems.append(f"its row says {row.seq}, its journal ends with {journal[-1].seq}")
    if row.epoch < max(by_workers, default=0):
        problems.append("its row's epoch is below that of an entry")
    if not journal or not isinstance(journal[0].entry, RunStarted):
        problems.append("it does not begin with its start")
    return problems


def _steps(journal: Sequence[Written]) -> list[str]:
    """No step commits twice; no step ends that did not begin."""
    problems, open_step = [], ""
    for one in journal:
        match one.entry:
            case StepStarted(node=node):
                if open_step:
                    problems.append(f"entry {one.seq} starts {node} while {open_step} is under way")
                open_step = node
            case StepFinished(node=node) | StepFailed(node=node):
                if open_step and open_step != node:
                    problems.append(f"entry {one.seq} ends {node} while {open_step} is under way")
                open_step = ""
            case _:
                pass
    return problems + _conversations(journal)


def _conversations(journal: Sequence[Written]) -> list[str]:
    """Every turn's calls are answered together, each once, before anything else is said; none is open when its step or its run ends well."""
    problems, asked = [], list[str]()
    for one in journal:
        match one.entry:
            case StepProgressed(turn=ModelTurn(calls=calls)):
                if asked:
                    problems.append(f"entry {one.seq}: the model speaks while {asked} are not answered")
                asked = sorted(call.call_id for call in calls)
            case StepProgressed(turn=ToolTurn(answers=answers)):
                if sorted(said.call_id for said in answers) != asked:
                    problems.append(f"entry {one.seq} does not answer {asked}")
                asked = []
            case StepFinished() | RunFinished() if asked:
                problems.append(f"entry {one.seq} ends what left {asked} without an answer")
            case StepFailed():
                asked = []
            case _:
                pass
    return problems


def _routed(journal: Sequence[Written]) -> list[str]:
    """Every failure of a step leads somewhere: to another try, to a node, or to the end of its run, which says so."""
    problems, stuck = [], 0
    for one in journal:
        match one.entry:
            case StepFailed(next="", retry_at=None):
                stuck = one.seq
            case StepStarted() | StepFinished() if stuck:
                problems.append(f"entry {one.seq} goes on after the failure of entry {stuck}, which leads nowhere")
            case RunFinished(status=RunStatus.SUCCEEDED, failure=failure) if stuck or failure is not None:
                problems.append(f"it succeeded with a failure, {failure.reason if failure else f'that of entry {stuck}'}")
            case RunFinished(status=RunStatus.FAILED | RunStatus.CANCELLED, failure=None):
                problems.append("it did not succeed, and its end does not say why")
            case _:
                pass
    return problems


def _end(row: Row, journal: Sequence[Written]) -> list[str]:
    """A finished run never changes: its end is its last entry, and its row says so."""
    ends = [one.seq for one in journal if isinstance(one.entry, RunFinished)]
    problems = []
    if len(ends) > 1 or (ends and ends[0] != journal[-1].seq):
        problems.append(f"it goes on after its end: {ends}")
    if bool(ends) != row.finished:
        problems.append("its row and its journal differ about its end")
    if ends and (row.wakes or row.held):
        problems.append("it is finished and somebody holds it, or it would be woken")
    return problems


def _fold(history: History, row: Row, journal: Sequence[Written]) -> list[str]:
    """The journal folds, within its budget, to what its row shows; a snapshot is the fold up to its position."""
    graph = history.graphs[row.agent, row.agent_digest]
    fresh = run = Run(run_id=row.run_id, tenant=row.tenant, agent=row.agent, agent_digest=row.agent_digest)
    problems = []
    same = not any(isinstance(one.entry, VersionChanged) for one in journal)  # another version may have another budget
    for one in journal:
        if same and isinstance(one.entry, StepStarted | StepFinished | StepFailed) and run.step is None and not one.entry.undo:
            problems += [f"entry {one.seq} is a step beyond its budget of {what}" for what in _used_up(run, graph)]
        run = fold(run, [(one.seq, one.at, one.entry)], graph.start)
    if run.is_final and run.status.value != row.status:
        problems.append(f"its row says {row.status}, its journal {run.status.value}")
    if (run.steps, run.usage.tokens) != (row.steps, row.tokens):
        problems.append("its row and its journal differ about what it used")
    snapshot = history.snapshots.get(row.run_id)
    if snapshot is not None:
        again = fold(fresh, ((one.seq, one.at, one.entry) for one in journal if one.seq <= snapshot.seq), graph.start)
        if (again.state, again.node, again.attempts, again.usage) != (snapshot.state, snapshot.node, snapshot.attempts, snapshot.usage):
            problems.append("its snapshot is not the fold of its journal")
    return problems


def _used_up(run: Run, graph: Graph) -> list[str]:
    """The budgets, the graph's and the run's own, within which no further step fits."""
    used = {"steps": run.steps, "tokens": run.usage.tokens, "cost_micros": run.usage.cost_micros, "seconds": run.busy_s}
    budgets = (graph.budget, run.options.budget)
    return [f"{most:g} {name}" for budget in budgets for name, spent in used.items() if 0 < (most := getattr(budget, name)) <= spent]


def _children(journals: Mapping[str, Sequence[Written]]) -> list[str]:
    """Every child that a step started exists, and came back once at the most."""
    problems = []
    for run_id, journal in journals.items():
        started = [child.run_id for one in journal if isinstance(one.entry, ChildrenStarted) for child in one.entry.children]
        joined = [child.run_id for one in journal if isinstance(one.entry, ChildrenJoined) for child in one.entry.children]
        problems += [f"{run_id}: its child {child} does not exist" for child in started if child not in journals]
        if len(set(started)) != len(started) or len(set(joined)) != len(joined) or not set(joined) <= set(started):
            problems.append(f"{run_id}: a child was started or joined twice")
    return problems


def _isolation(journals: Mapping[str, Sequence[Written]], texts: Mapping[str, str], canaries: Sequence[str]) -> list[str]:
    """No run reads another's state."""
    owners = {}
    for run_id, journal in journals.items():
        value = journal[0].entry.input if journal and isinstance(journal[0].entry, RunStarted) else None
        if isinstance(value, dict) and value.get("canary") in canaries:
            owners.setdefault(value["canary"], set()).add(run_id.split(".")[0])
    return [
        f"{run_id}: it has read the canary {canary} of another run"
        for run_id, text in texts.items()
        for canary in sorted(set(_BETWEEN_QUOTES.findall(text)) & owners.keys())
        if run_id.split(".")[0] not in owners[canary]
    ]


def _outbox(history: History) -> list[str]:
    """What waits to be published exists; where nothing was published yet, that is everything, once."""
    covered: dict[str, list[int]] = {}
    for run_id, first, last in history.outbox:
        covered.setdefault(run_id, []).extend(range(first, last + 1))
    lengths = {run_id: len(history.journals.get(run_id, ())) for run_id in covered}
    return [
        f"{run_id}: the outbox has {sorted(seqs)} of {lengths[run_id]} entries"
        for run_id, seqs in covered.items()
        if sorted(seqs) != list(range(1, lengths[run_id] + 1))
    ]
