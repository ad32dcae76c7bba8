"""Why a run waits: the one thing, or the few, that keep it from going on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_graph.graph import Graph, SignalNode

from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.run import Run

_MANY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """`subject` is the run, approval or worker that is waited for; `until` when the obstacle goes away by itself."""

    reason: str
    message: str
    until: datetime | None = None
    subject: str = ""


class Place(Protocol):
    """Where a run stands for the scheduler."""

    @property
    def worker(self) -> str: ...
    @property
    def wake_at(self) -> datetime | None: ...
    @property
    def now(self) -> datetime: ...
    @property
    def gated(self) -> bool: ...
    @property
    def ahead(self) -> int: ...
    @property
    def held_by(self) -> Sequence[str]: ...


def explain(run: Run, graph: Graph, place: Place, workers: int) -> tuple[Obstacle, ...]:
    """What the run waits for, the most outer thing first; never empty."""
    if run.is_final:
        return (Obstacle(reason="NOTHING", message=f"the run has {run.status.value}"),)
    found = (*_stopped(run), *_gates(run, place), *_inside(run, graph, place))
    return found or (_queue(run, place, workers),)


def _stopped(run: Run) -> Iterator[Obstacle]:
    if run.status is RunStatus.PAUSED:
        why = f": {run.pause_reason}" if run.pause_reason else ""
        message = f"{run.paused_by or 'somebody'} paused it{why}. Resume it to let it go on"
        yield Obstacle(reason="PAUSED", message=message, until=run.options.deadline)
    if run.status is RunStatus.QUARANTINED:
        yield Obstacle(reason="QUARANTINED", message=f"set aside after: {'; '.join(run.evidence)}. Resume it when the cause is gone")


def _gates(run: Run, place: Place) -> Iterator[Obstacle]:
    begin = run.options.not_before
    if not place.gated or (begin is not None and place.now < begin):
        return
    holders = ", ".join(place.held_by) or "a run before it"
    holder = next(iter(place.held_by), "").partition(" ")[0]
    thread, key = run.options.thread_id, run.options.concurrency_key
    if thread:
        message = f"waits for its turn in thread {thread}: {holders}"
        yield Obstacle(reason="THREAD", message=message, until=run.options.deadline, subject=holder)
    if key:
        message = f"waits for one of {run.options.concurrency_limit} places of key {key!r}: {holders}"
        yield Obstacle(reason="CONCURRENCY_KEY", message=message, until=run.options.deadline, subject=holder)


def _inside(run: Run, graph: Graph, place: Place) -> Iterator[Obstacle]:
    begin = run.options.not_before
    if run.steps == 0 and begin is not None and place.now < begin:
        yield Obstacle(reason="DELAYED", message="its start time has not come", until=begin)
    if run.pending is not None:
        asked = run.pending
        quorum = asked.terms.quorum
        have = f" ({len(asked.approved_by)} of {quorum} have approved)" if quorum > 1 else ""
        message = f"people have to decide: {asked.summary}{have}"
        yield Obstacle(reason="APPROVAL", message=message, until=asked.expires_at, subject=asked.approval_id)
    if run.retry_at is not None and place.now < run.retry_at:
        yield Obstacle(reason="BACKOFF", message=f"node {run.node!r} failed and is tried again", until=run.retry_at)
    step = run.step
    if step is not None and step.waiting:
        kind = graph.nodes[step.node].kind if step.node in graph.nodes else None
        if isinstance(kind, SignalNode):
            yield Obstacle(reason="SIGNAL", message=f"waits for a signal {kind.signal!r}", until=step.until)
        else:
            yield Obstacle(reason="TIMER", message="waits for a time", until=step.until)
    if step is not None and step.open:
        done = step.started - len(step.open)
        message = f"waits for runs that it started: {done} of {step.total} are done"
        yield Obstacle(reason="CHILDREN", message=message, subject=next(iter(step.open)))


def _queue(run: Run, place: Place, workers: int) -> Obstacle:
    if place.worker and place.wake_at is not None and place.wake_at > place.now:
        return Obstacle(
            reason="LEASED", message=f"worker {place.worker} works on node {run.node!r}", subject=place.worker, until=place.wake_at
        )
    if place.worker:
        return Obstacle(
            reason="LEASED", message=f"worker {place.worker} left it without a word; another one takes it", subject=place.worker
        )
    if not workers:
        return Obstacle(reason="NO_WORKER", message="no worker has been heard of for a while; start one")
    ahead = f"{_MANY} or more" if place.ahead > _MANY else str(place.ahead)
    return Obstacle(reason="QUEUED", message=f"waits for a worker's free slot; {ahead} runs are due before it")
