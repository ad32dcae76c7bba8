"""Failures of steps: where they lead, when a step is tried again, and what a step may not leave behind."""

import hashlib
from datetime import datetime, timedelta

from plimsoll_graph.graph import ANY, Graph, Node
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.journal import NO_USAGE, StepFailed
from plimsoll_orchestrator.domain.options import Limits
from plimsoll_orchestrator.domain.run import Run

DELTA_CAP_BYTES = 4 * 1024 * 1024
STATE_CAP_BYTES = 16 * 1024 * 1024
OUTPUT_CAP_BYTES = 4 * 1024 * 1024  # of a run
TURN_CAP_BYTES = 4 * 1024 * 1024  # of an agent: what its model says, or what its tools answer
_LARGE_BYTES = 16 * 1024
_BACKOFF_MOST_S = 60.0
_FAIL = "fail"


def failed(
    run: Run,
    graph: Graph,
    node: Node,
    failure: Failure,
    now: datetime | None,
    *,
    usage: Usage = NO_USAGE,
    seconds: float = 0.0,
    unsettled: bool = False,
) -> StepFailed:
    """A failure and where it leads: again after a pause, to the route of its category, to the route of any, or to the run's end."""
    attempt = run.attempts.get(node.name, 0) + 1
    undo = run.step is not None and run.step.undo
    retry_at = _retry_at(run, node, failure, attempt, now) if now is not None else None
    return StepFailed(
        node=node.name,
        node_kind=node.kind_name,
        failure=failure,
        attempt=attempt,
        next="" if retry_at or undo else route(run, graph, node, failure.category),
        retry_at=retry_at,
        usage=usage,
        seconds=seconds,
        unsettled=unsettled,
        undo=undo,
    )


def _retry_at(run: Run, node: Node, failure: Failure, attempt: int, now: datetime) -> datetime | None:
    """When the step is tried again; None when it is not."""
    if failure.category not in node.retry.on or attempt >= node.retry.attempts or failure.category is Category.OUTCOME_UNKNOWN:
        return None
    pause = min(_BACKOFF_MOST_S, node.retry.backoff_s * 2 ** (attempt - 1))
    pause = max(pause * _jitter(run), failure.retry_after_s or 0.0)
    return now + timedelta(seconds=min(pause, _BACKOFF_MOST_S))


def route(run: Run, graph: Graph, node: Node, category: Category) -> str:
    """The node that a failure leads to; empty when the run fails. In a branch only the nodes' own routes count: the rest is its parent's."""
    for routes in (node.on_failure, {} if run.origin.branch else graph.on_failure):
        target = routes.get(category.value, routes.get(ANY, ""))
        if target:
            return "" if target in {_FAIL, node.name} else target
    return ""


def _jitter(run: Run) -> float:
    """From 0 to 1, full jitter (AWS Architecture Blog, 2015); drawn from the run itself, so that deciding stays pure."""
    return int.from_bytes(hashlib.sha256(f"{run.run_id}:{run.seq}".encode()).digest()[:4]) / 2**32


def overspent(run: Run, graph: Graph) -> Failure | None:
    """The budget that is used up: the graph's, or the run's own."""
    limits = Limits(
        steps=graph.budget.steps, tokens=graph.budget.tokens, cost_micros=graph.budget.cost_micros, seconds=graph.budget.seconds
    )
    for budget in (limits, run.options.budget):
        used = (
            ("steps", run.steps, budget.steps),
            ("tokens", run.usage.tokens, budget.tokens),
            ("cost_micros", run.usage.cost_micros, budget.cost_micros),
            ("seconds", run.busy_s, budget.seconds),
        )
        for name, spent, limit in used:
            if limit and spent >= limit:
                message = f"the run's budget of {limit:g} {name} is used up"
                return Failure(category=Category.BUDGET_EXCEEDED, reason=f"BUDGET_{name.upper()}", message=message, where=run.node)
    return None


def delta_failure(run: Run, graph: Graph, node: Node, delta: JsonObject) -> Failure | None:
    """Why the state may not change like this."""
    problems = graph.delta_problems(delta)
    if problems:
        return context_invalid(node, "STATE_BROKEN", "; ".join(f"{path} {problem}" for path, problem in problems[:5]))
    size = len(dump_json(delta)) if delta else 0
    if size > DELTA_CAP_BYTES:
        return context_invalid(node, "STATE_TOO_LARGE", f"the step would add {size} bytes to the state; the limit is {DELTA_CAP_BYTES}")
    if size > _LARGE_BYTES:  # many small changes are bounded by the run's steps
        whole = len(dump_json({**run.state, **delta}))
        if whole > STATE_CAP_BYTES:
            return context_invalid(node, "STATE_TOO_LARGE", f"the state would have {whole} bytes; the limit is {STATE_CAP_BYTES}")
    return None


def context_invalid(node: Node, reason: str, message: str) -> Failure:
    return Failure(category=Category.CONTEXT_INVALID, reason=reason, message=message, where=node.name)
