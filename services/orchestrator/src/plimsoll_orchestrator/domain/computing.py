"""Nodes that touch nothing outside: set, decide, handle. Done at once, in one commit with what follows."""

from plimsoll_graph.expression import fill
from plimsoll_graph.graph import Compensate, DecideNode, Escalate, GiveUp, GoTo, Graph, HandleNode, Node, Remedy, Retry, SetNode
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.failing import context_invalid, delta_failure, failed
from plimsoll_orchestrator.domain.journal import ApprovalStatus, CompensationStarted, Entry, StepFailed, StepFinished, StepStarted
from plimsoll_orchestrator.domain.run import FailedStep, Run, call_of
from plimsoll_orchestrator.domain.scope import scope_of
from plimsoll_orchestrator.domain.state import compacted


def compute(run: Run, graph: Graph, node: Node) -> tuple[Entry, ...]:
    """The entries that a pure node leaves. Raises ExpressionFailed."""
    scope = scope_of(run)
    match node.kind:
        case SetNode(fields=fields):
            changed = {name: fill(template, scope) for name, template in fields.items()}
            failure = delta_failure(run, graph, node, changed) or _ensure_broken(run, node, changed)
            if failure is not None:
                return (failed(run, graph, node, failure, None),)
            delta, appended = compacted(run.state, changed)
            return (StepFinished(node=node.name, node_kind="set", delta=delta, appended=appended, next=node.next),)
        case DecideNode(branches=branches, default=default):
            chosen = next((branch.next for branch in branches if branch.when.holds(scope)), default)
            return (StepFinished(node=node.name, node_kind="decide", delta={}, next=chosen),)
        case HandleNode() as kind:
            return _remedy(run, graph, node, remedy_of(run, node, kind))
    raise TypeError(node.kind_name)


def _ensure_broken(run: Run, node: Node, changed: JsonObject) -> Failure | None:
    """What does not hold once the fields are set: the conditions see the state with them."""
    if not node.ensure:
        return None
    scope = {**scope_of(run), "state": {**run.state, **changed}}
    broken = next((text.text for text in node.ensure if not text.holds(scope)), None)
    return None if broken is None else context_invalid(node, "ENSURE_BROKEN", f"does not hold after the step: {broken}")


def start_step(run: Run, node: Node, *, undo: bool = False) -> StepStarted:
    """The beginning of a step. Calls whose outcome is open keep their keys."""
    attempt = run.attempts.get(node.name, 0) + 1
    return StepStarted(
        node=node.name,
        node_kind="tool" if undo else node.kind_name,
        attempt=attempt,
        key=run.unsettled.get(call_of(node.name, undo=undo), ""),
        undo=undo,
    )


def remedy_of(run: Run, node: Node, kind: HandleNode) -> Remedy:
    """What a handler decides: the first case that holds and is not used up. Raises ExpressionFailed."""
    scope = scope_of(run)
    applies = (case.remedy for case in kind.cases if (case.when is None or case.when.holds(scope)) and not _used_up(run, node, case.remedy))
    return next(applies, GiveUp())


def _used_up(run: Run, node: Node, remedy: Remedy) -> bool:
    match remedy, run.failed:
        case Retry(limit=limit), FailedStep() as failed:
            return failed.attempts >= limit
        case Escalate(limit=limit), FailedStep() as failed:
            asked = (one for one in run.approvals.values() if one.node == node.name and one.details.get("node") == failed.node)
            return sum(one.status is ApprovalStatus.APPROVED for one in asked) >= limit
        case _:
            return False


def _remedy(run: Run, graph: Graph, node: Node, remedy: Remedy) -> tuple[Entry, ...]:
    broken = run.failed
    if broken is None:  # reached by an ordinary edge: there is nothing to handle
        failure = context_invalid(node, "NOTHING_TO_HANDLE", "a handle node was reached without a failure")
        return (StepFailed(node=node.name, node_kind="handle", failure=failure),)
    match remedy:
        case Retry():
            return (StepFinished(node=node.name, node_kind="handle", delta={}, next=broken.node, facts={"remedy": "retry"}),)
        case GoTo(next=target):
            return (StepFinished(node=node.name, node_kind="handle", delta={}, next=target, facts={"remedy": "next"}),)
        case Escalate():
            return (start_step(run, node),)
        case Compensate(next=target):
            nodes = tuple(name for name in reversed(run.undoable) if name in graph.nodes)
            done = StepFinished(node=node.name, node_kind="handle", delta={}, next=target or node.name, facts={"remedy": "compensate"})
            return (done, CompensationStarted(node=node.name, nodes=nodes, next=target, failure=broken.failure))
        case GiveUp():
            return (StepFailed(node=node.name, node_kind="handle", failure=broken.failure),)
