"""Steps that wait for the time or for a signal."""

from datetime import UTC, datetime, timedelta

from plimsoll_graph.expression import ExpressionFailed
from plimsoll_graph.graph import Node, SignalNode, TimerNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.actions import Done, Failed, Park
from plimsoll_orchestrator.domain.journal import RunStatus, SignalReceived, WaitStarted
from plimsoll_orchestrator.domain.run import Run, Step
from plimsoll_orchestrator.domain.scope import scope_of


def begin_wait(run: Run, node: Node, kind: TimerNode | SignalNode, now: datetime) -> WaitStarted:
    """What the step waits for. Raises ExpressionFailed."""
    match kind:
        case TimerNode(seconds=seconds, until=None):
            return WaitStarted(node=node.name, until=now + timedelta(seconds=seconds))
        case TimerNode(until=until):
            assert until is not None
            return WaitStarted(node=node.name, until=_moment(until.evaluate(scope_of(run))))
        case SignalNode(signal=signal, expires_s=expires_s):
            return WaitStarted(node=node.name, signal=signal, until=now + timedelta(seconds=expires_s) if expires_s else None)


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ExpressionFailed(f"`until` is {type(value).__name__}, not a text such as 2030-01-31T09:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ExpressionFailed(f"`until` is not a moment such as 2030-01-31T09:00:00Z: {error}") from error


def look(run: Run, node: Node, kind: TimerNode | SignalNode, step: Step, now: datetime) -> Done | Failed | Park:
    """Whether the wait is over. Raises ExpressionFailed."""
    over = step.until is not None and now >= step.until
    if isinstance(kind, TimerNode):
        at: JsonObject = {"at": step.until.isoformat() if step.until else ""}
        return Done(result=at) if over else Park(step.until, RunStatus.WAITING)
    found = next((signal for signal in run.signals if _fits(run, kind, signal)), None)
    if found is not None:
        return Done(result=_told(found), facts={"signal": found.name}, signal=found.signal_id)
    if not over:
        return Park(step.until, RunStatus.WAITING)
    if kind.on_expired:
        return Done(result=None, next=kind.on_expired, facts={"expired": True}, empty=True)
    message = f"no signal {kind.signal!r} came in time"
    return Failed(failure=Failure(category=Category.TIMEOUT, reason="SIGNAL_EXPIRED", message=message, where=node.name))


def _fits(run: Run, kind: SignalNode, signal: SignalReceived) -> bool:
    """One that `where` cannot judge, such as for a missing field, does not fit: whoever sends signals must not be able to end the run."""
    if signal.name != kind.signal:
        return False
    try:
        return kind.where is None or kind.where.holds(scope_of(run, signal=_told(signal)))
    except ExpressionFailed:
        return False


def _told(signal: SignalReceived) -> JsonObject:
    return {"name": signal.name, "payload": signal.payload, "by": signal.sent_by}
