"""What a run does next, and what a step's outcome means: the heart of the engine, pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from plimsoll_graph.expression import ExpressionFailed, Scope, fill
from plimsoll_graph.graph import (
    ANY,
    END,
    PURE_KINDS,
    DecideNode,
    Escalate,
    GiveUp,
    GoTo,
    Graph,
    HandleNode,
    Node,
    Remedy,
    Retry,
    SetNode,
)
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.journal import (
    NO_USAGE,
    ApprovalDecided,
    ApprovalStatus,
    Entry,
    RunFinished,
    RunStatus,
    StepFailed,
    StepFinished,
    StepStarted,
)
from plimsoll_orchestrator.domain.run import Approval, Run

_DELTA_CAP_BYTES = 4 * 1024 * 1024
_BACKOFF_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Write:
    """Append these entries; nothing outside is touched."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Do the step that is under way."""

    node: Node


@dataclass(frozen=True, slots=True)
class Park:
    """Let go of the run until `at`, or until somebody wakes it."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Rest:
    """The run is finished."""


Action: TypeAlias = Write | Perform | Park | Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step came out well."""

    result: JsonValue
    usage: Usage = NO_USAGE
    rehearsal: bool = False
    facts: JsonObject | None = None
    next: str = ""  # overrules the node's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A step came out as a failure; `unsettled` when a call may have acted without our learning of it."""

    failure: Failure
    usage: Usage = NO_USAGE
    unsettled: bool = False


def decide(run: Run, graph: Graph, now: datetime) -> Action:
    """The one next thing to do."""
    if run.is_final:
        return Rest()
    pending = run.pending
    if pending is not None:
        if now < pending.expires_at:
            return Park(pending.expires_at)
        return Write((decided(pending, ApprovalStatus.EXPIRED, now),))
    if run.failure is not None:
        return Write((finished(run, RunStatus.FAILED, now, failure=run.failure),))
    if run.retry_at is not None and now < run.retry_at:
        return Park(run.retry_at)
    if run.step is not None:
        return Perform(graph.nodes[run.step.node])
    if run.node == END:
        return Write((_end(run, graph, now),))
    spent = _overspent(run, graph, now)
    if spent is not None:
        return Write((finished(run, RunStatus.FAILED, now, failure=spent),))
    return Write(_enter(run, graph, graph.nodes[run.node]))


def conclude(run: Run, graph: Graph, node: Node, outcome: Done | Failed, seconds: float, now: datetime) -> tuple[Entry, ...]:
    """The entries that a performed step leaves: its delta, or its failure and where that leads."""
    if isinstance(outcome, Failed):
        return (_failed(run, node, outcome.failure, now, usage=outcome.usage, seconds=seconds, unsettled=outcome.unsettled),)
    scope = scope_of(run, result=outcome.result)
    try:
        broken = next((text.text for text in node.ensure if not text.holds(scope)), None)
        if broken is not None:
            failure = _context_invalid(node, "ENSURE_BROKEN", f"does not hold after the step: {broken}")
            return (_failed(run, node, failure, now, usage=outcome.usage, seconds=seconds),)
        delta = {name: fill(template, scope) for name, template in node.save.items()}
    except ExpressionFailed as error:
        return (_failed(run, node, _context_invalid(node, "EXPRESSION_FAILED", str(error)), now, usage=outcome.usage, seconds=seconds),)
    unfit = _delta_failure(graph, node, delta)
    if unfit is not None:
        return (_failed(run, node, unfit, now, usage=outcome.usage, seconds=seconds),)
    done = StepFinished(
        node=node.name,
        node_kind=node.kind_name,
        delta=delta,
        next=outcome.next or node.next,
        usage=outcome.usage,
        seconds=seconds,
        rehearsal=outcome.rehearsal,
        facts=outcome.facts or {},
    )
    return (done,)


def finished(run: Run, status: RunStatus, now: datetime, *, output: JsonValue = None, failure: Failure | None = None) -> RunFinished:
    """The last entry of a run."""
    seconds = (now - run.started_at).total_seconds() if run.started_at else 0.0
    return RunFinished(status=status, output=output, failure=failure, usage=run.usage, steps=run.steps, seconds=seconds)


def decided(approval: Approval, status: ApprovalStatus, now: datetime, *, decided_by: str = "", comment: str = "") -> ApprovalDecided:
    """The answer to a question."""
    return ApprovalDecided(
        approval_id=approval.approval_id,
        node=approval.node,
        status=status,
        decided_by=decided_by,
        comment=comment,
        seconds=(now - approval.asked_at).total_seconds(),
    )


def scope_of(run: Run, *, result: JsonValue = None, item: JsonValue = None, index: int | None = None) -> Scope:
    """What expressions see."""
    failed = run.failed
    failure: JsonValue = None
    if failed is not None:
        failure = {
            "category": failed.failure.category.value,
            "reason": failed.failure.reason,
            "message": failed.failure.message,
            "retryable": failed.failure.retryable,
            "where": failed.failure.where,
            "node": failed.node,
        }
    facts: JsonObject = {"id": run.run_id, "agent": run.agent, "tenant": run.tenant, "attempt": run.step.attempt if run.step else 1}
    return {
        "state": run.state,
        "input": run.input,
        "run": facts,
        "result": result,
        "item": item,
        "index": index,
        "failure": failure,
        "attempts": failed.attempts if failed else 0,
    }


def _enter(run: Run, graph: Graph, node: Node) -> tuple[Entry, ...]:
    """Begin a node; one that touches nothing outside is done at once."""
    attempt = run.attempts.get(node.name, 0) + 1
    broken = _require(run, node)
    if broken is not None:
        now = run.started_at  # a broken requirement is never retried, so the time does not matter
        return (_failed(run, node, broken, now),)
    if node.kind_name not in PURE_KINDS:
        return (_start(run, node, attempt),)
    try:
        return _compute(run, graph, node, attempt)
    except ExpressionFailed as error:
        return (_failed(run, node, _context_invalid(node, "EXPRESSION_FAILED", str(error)), None),)


def _compute(run: Run, graph: Graph, node: Node, attempt: int) -> tuple[Entry, ...]:
    scope = scope_of(run)
    match node.kind:
        case SetNode(fields=fields):
            delta = {name: fill(template, scope) for name, template in fields.items()}
            failure = _delta_failure(graph, node, delta)
            if failure is not None:
                return (_failed(run, node, failure, None),)
            return (StepFinished(node=node.name, node_kind="set", delta=delta, next=node.next),)
        case DecideNode(branches=branches, default=default):
            chosen = next((branch.next for branch in branches if branch.when.holds(scope)), default)
            return (StepFinished(node=node.name, node_kind="decide", delta={}, next=chosen),)
        case HandleNode(cases=cases):
            applies = (case.remedy for case in cases if (case.when is None or case.when.holds(scope)) and not _used_up(run, case.remedy))
            return _remedy(run, node, next(applies, GiveUp()), attempt)
    raise TypeError(node.kind_name)


def _start(run: Run, node: Node, attempt: int) -> StepStarted:
    return StepStarted(node=node.name, node_kind=node.kind_name, attempt=attempt, key_seq=run.unsettled.get(node.name, 0))


def _used_up(run: Run, remedy: Remedy) -> bool:
    return isinstance(remedy, Retry) and run.failed is not None and run.failed.attempts >= remedy.limit


def _remedy(run: Run, node: Node, remedy: Remedy, attempt: int) -> tuple[Entry, ...]:
    failed = run.failed
    if failed is None:  # reached by an ordinary edge: there is nothing to handle
        failure = _context_invalid(node, "NOTHING_TO_HANDLE", "a handle node was reached without a failure")
        return (StepFailed(node=node.name, node_kind="handle", failure=failure),)
    match remedy:
        case Retry():
            return (StepFinished(node=node.name, node_kind="handle", delta={}, next=failed.node, facts={"remedy": "retry"}),)
        case GoTo(next=target):
            return (StepFinished(node=node.name, node_kind="handle", delta={}, next=target, facts={"remedy": "next"}),)
        case Escalate():
            return (_start(run, node, attempt),)
        case GiveUp():
            return (StepFailed(node=node.name, node_kind="handle", failure=failed.failure),)


def _require(run: Run, node: Node) -> Failure | None:
    try:
        broken = next((text.text for text in node.require if not text.holds(scope_of(run))), None)
    except ExpressionFailed as error:
        return _context_invalid(node, "EXPRESSION_FAILED", str(error))
    return _context_invalid(node, "REQUIRE_BROKEN", f"does not hold before the step: {broken}") if broken is not None else None


def _failed(
    run: Run, node: Node, failure: Failure, now: datetime | None, *, usage: Usage = NO_USAGE, seconds: float = 0.0, unsettled: bool = False
) -> StepFailed:
    """A failure and where it leads: again after a pause, to the route of its category, to the route of any, or to the run's end."""
    attempt = run.attempts.get(node.name, 0) + 1
    retry_at = None
    if (
        now is not None
        and failure.category in node.retry.on
        and attempt < node.retry.attempts
        and failure.category is not Category.OUTCOME_UNKNOWN
    ):
        pause = min(_BACKOFF_MOST_S, node.retry.backoff_s * 2 ** (attempt - 1))
        pause = max(pause * _jitter(run), failure.retry_after_s or 0.0)
        retry_at = now + timedelta(seconds=min(pause, _BACKOFF_MOST_S))
    route = "" if retry_at else node.on_failure.get(failure.category.value, node.on_failure.get(ANY, ""))
    return StepFailed(
        node=node.name,
        node_kind=node.kind_name,
        failure=failure,
        attempt=attempt,
        next=route,
        retry_at=retry_at,
        usage=usage,
        seconds=seconds,
        unsettled=unsettled,
    )


def _jitter(run: Run) -> float:
    """From 0 to 1, full jitter (AWS Architecture Blog, 2015); drawn from the run itself, so that deciding stays pure."""
    return int.from_bytes(hashlib.sha256(f"{run.run_id}:{run.seq}".encode()).digest()[:4]) / 2**32


def _end(run: Run, graph: Graph, now: datetime) -> Entry:
    try:
        output: JsonValue = {name: fill(template, scope_of(run)) for name, template in graph.output.items()}
    except ExpressionFailed as error:
        failure = Failure(category=Category.CONTEXT_INVALID, reason="OUTPUT_FAILED", message=str(error), where=END)
        return finished(run, RunStatus.FAILED, now, failure=failure)
    return finished(run, RunStatus.SUCCEEDED, now, output=output)


def _overspent(run: Run, graph: Graph, now: datetime) -> Failure | None:
    budget = graph.budget
    used = {
        "steps": (run.steps, budget.steps),
        "tokens": (run.usage.tokens, budget.tokens),
        "cost_micros": (run.usage.cost_micros, budget.cost_micros),
        "seconds": ((now - run.started_at).total_seconds() if run.started_at else 0.0, budget.seconds),
    }
    for name, (spent, limit) in used.items():
        if limit and spent >= limit:
            message = f"the run's budget of {limit:g} {name} is used up"
            return Failure(category=Category.BUDGET_EXCEEDED, reason=f"BUDGET_{name.upper()}", message=message, where=run.node)
    return None


def _delta_failure(graph: Graph, node: Node, delta: JsonObject) -> Failure | None:
    problems = graph.delta_problems(delta)
    if problems:
        return _context_invalid(node, "STATE_BROKEN", "; ".join(f"{path} {problem}" for path, problem in problems[:5]))
    size = len(dump_json(delta)) if delta else 0
    if size > _DELTA_CAP_BYTES:
        return _context_invalid(node, "STATE_TOO_LARGE", f"the step would add {size} bytes to the state; the limit is {_DELTA_CAP_BYTES}")
    return None


def _context_invalid(node: Node, reason: str, message: str) -> Failure:
    return Failure(category=Category.CONTEXT_INVALID, reason=reason, message=message, where=node.name)
