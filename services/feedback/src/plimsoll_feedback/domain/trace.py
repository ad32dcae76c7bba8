"""Traces: runs as lists show them, what one batch of events adds to them, and where each operation stands in its run's timeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage

from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId

TAG_CAP_CHARACTERS = 128
TAGS_CAP = 50
_WORDS_OF_MESSAGE = 500
_WORDS_CAP = 4000


class TraceStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Attributes:
    duration_s  None until it has finished, as `finished_at`
    category    of the run itself when it failed
    categories  whatever anything in the run bears or bore: first labels, found ones, corrected ones
    """

    run_id: RunId
    tenant: str
    agent: str
    agent_version: str
    status: TraceStatus
    started_at: datetime
    finished_at: datetime | None = None
    duration_s: float | None = None
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    category: Category | None = None
    reason: str = ""
    categories: tuple[Category, ...] = ()
    tags: tuple[str, ...] = ()
    parent_run_id: str = ""
    thread_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Every part that is set must hold; of `text` every word must occur."""

    agent: str | None = None
    agent_version: str | None = None
    category: Category | None = None
    tags: tuple[str, ...] = ()
    status: TraceStatus | None = None
    after: datetime | None = None
    before: datetime | None = None
    min_cost_micros: int | None = None
    min_duration_s: float | None = None
    text: str | None = None
    thread_id: str | None = None
    parent_run_id: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How a run ended, as its last entry tells."""

    status: TraceStatus
    finished_at: datetime
    duration_s: float
    usage: Usage
    steps: int
    category: Category | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """What a batch of events shows of one run. Adding the same glimpse again changes nothing."""

    run: Run
    journal: bool
    categories: tuple[Category, ...]
    words: str
    finish: Finish | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """As much of an operation as its place needs."""

    id: OperationId
    kind: OperationKind
    step: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEntry:
    """An operation in its place: 0 is the run, 1 a step, 2 a call. `parent` is empty for what belongs to the run itself."""

    operation: Operation
    parent: OperationId
    depth: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePage:
    """A trace with one page of its entries, and the runs that it started."""

    trace: Trace
    entries: tuple[TraceEntry, ...]
    children: tuple[Trace, ...]


def glimpses(operations: Iterable[Operation], runs: Iterable[Run]) -> Sequence[Glimpse]:
    """One for each run that occurs, in the order of tenant and run, so that two writers cannot lock each other out."""
    seen: dict[tuple[str, RunId], _Gathered] = {}
    for run in runs:
        seen.setdefault((run.tenant, run.id), _Gathered()).add_run(run)
    for operation in operations:
        if operation.run_id:
            seen.setdefault((operation.tenant, operation.run_id), _Gathered()).add_operation(operation)
    return [seen[key].glimpse() for key in sorted(seen)]


def words_of(texts: Iterable[str]) -> str:
    """Searchable text of bounded size."""
    return " ".join(sorted({text for text in texts if text}))[:_WORDS_CAP]


def parents(frames: Sequence[Frame]) -> Mapping[OperationId, OperationId]:
    """Which step each call belongs to: the first transition of its node behind the position at which the step began.

    A call whose step has not ended, or is not known, belongs to the run itself; so do steps and decisions.
    """
    steps: dict[str, list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: frame.step):
        if frame.kind is OperationKind.TRANSITION:
            steps.setdefault(frame.node, []).append(frame)
    found = {}
    for frame in frames:
        if depth_of(frame.kind) == 2:
            behind = (step for step in steps.get(frame.node, ()) if step.step > frame.step)
            if (step := next(behind, None)) is not None:
                found[frame.id] = step.id
    return found


def depth_of(kind: OperationKind) -> int:
    match kind:
        case OperationKind.RUN:
            return 0
        case OperationKind.TRANSITION | OperationKind.APPROVAL:
            return 1
        case _:
            return 2


def problems_of_tags(tags: Sequence[str], name: str) -> Sequence[FieldProblem]:
    """What forbids using the texts as tags."""
    problems = []
    if len(tags) > TAGS_CAP:
        problems.append(FieldProblem(name, f"has {len(tags)} tags", f"use at most {TAGS_CAP}"))
    for place, tag in enumerate(tags[:TAGS_CAP]):
        if not tag.strip() or len(tag) > TAG_CAP_CHARACTERS or not tag.isprintable():
            remedy = f"use 1 to {TAG_CAP_CHARACTERS} printable characters"
            problems.append(FieldProblem(f"{name}[{place}]", f"has {len(tag)} characters, or some that do not print", remedy))
    return problems


class _Gathered:
    """What a batch shows of one run, while it is gone through."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._journal = False
        self._categories: set[Category] = set()
        self._texts: set[str] = set()
        self._finish: Finish | None = None

    def add_run(self, run: Run) -> None:
        self._journal = True
        known = self._run
        if known is None:
            self._run = run
            return
        first, other = (run, known) if run.started_at < known.started_at else (known, run)
        self._run = Run(
            id=run.id,
            tenant=run.tenant,
            agent=first.agent or other.agent,
            agent_version=first.agent_version or other.agent_version,
            started_at=first.started_at,
            thread_id=first.thread_id or other.thread_id,
            parent_run_id=first.parent_run_id or other.parent_run_id,
        )

    def add_operation(self, operation: Operation) -> None:
        if self._run is None:
            self._run = Run(
                id=operation.run_id,
                tenant=operation.tenant,
                agent=operation.agent,
                agent_version=operation.agent_version,
                started_at=operation.started_at,
            )
        self._texts |= {operation.node, operation.name, operation.agent}
        if operation.failure is not None:
            self._categories.add(operation.failure.category)
            self._texts |= {operation.failure.reason, operation.failure.message[:_WORDS_OF_MESSAGE]}
        if operation.kind is OperationKind.RUN:
            self._finish = _finish_of(operation)

    def glimpse(self) -> Glimpse:
        assert self._run is not None  # somebody added something
        return Glimpse(
            run=self._run,
            journal=self._journal,
            categories=tuple(sorted(self._categories)),
            words=words_of(self._texts),
            finish=self._finish,
        )


def _finish_of(operation: Operation) -> Finish:
    failure, steps, status = operation.failure, operation.facts.get("steps"), operation.facts.get("status")
    return Finish(
        status=TraceStatus(status) if isinstance(status, str) and status in set(TraceStatus) else TraceStatus.FAILED,
        finished_at=operation.started_at + timedelta(seconds=operation.duration_s),
        duration_s=operation.duration_s,
        usage=operation.usage,
        steps=steps if isinstance(steps, int) else 0,
        category=failure.category if failure else None,
        reason=failure.reason if failure else "",
    )
