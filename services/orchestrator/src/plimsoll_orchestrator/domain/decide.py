"""What a run does next, and what a step's outcome means: the heart of the engine, pure."""

from datetime import datetime

from plimsoll_graph.expression import ExpressionFailed, fill
from plimsoll_graph.graph import END, JOIN, PURE_KINDS, AgentNode, Graph, Node, SignalNode, TimerNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json

from plimsoll_orchestrator.domain.actions import Action, Begin, Done, Failed, JoinThread, Park, Perform, Rest, Write
from plimsoll_orchestrator.domain.children import Stop, parent_kind, tend
from plimsoll_orchestrator.domain.computing import compute, start_step
from plimsoll_orchestrator.domain.failing import OUTPUT_CAP_BYTES, context_invalid, delta_failure, failed, overspent
from plimsoll_orchestrator.domain.journal import (
    ApprovalDecided,
    ApprovalStatus,
    Entry,
    RunFinished,
    RunStatus,
    StepFinished,
    StepProgressed,
    ToolAnswer,
    ToolTurn,
)
from plimsoll_orchestrator.domain.run import Approval, Run, Step, last_calls_open
from plimsoll_orchestrator.domain.scope import scope_of
from plimsoll_orchestrator.domain.state import changes, compacted
from plimsoll_orchestrator.domain.waiting import begin_wait, look

_ABSENT = "the graph has no node {!r}: its version changed under the run"


def decide(run: Run, graph: Graph, now: datetime) -> Action:
    """The one next thing to do."""
    if run.is_final:
        return Rest()
    if run.status is RunStatus.QUARANTINED:
        return Park(None, run.status)  # its deadline too waits for people: to take it up may be what ends its workers
    deadline = run.options.deadline
    if deadline is not None and now >= deadline:
        return Write(ended(run, RunStatus.FAILED, now, _late(run)))
    if run.status is RunStatus.PAUSED:
        return Park(deadline, run.status)
    action = _decide(run, graph, now)
    if isinstance(action, Park) and deadline is not None and (action.at is None or action.at > deadline):
        return Park(deadline, action.status)
    return action


def _decide(run: Run, graph: Graph, now: datetime) -> Action:
    pending = run.pending
    if pending is not None:
        if now < pending.expires_at:
            return Park(pending.expires_at, RunStatus.WAITING)
        return Write((decided(pending, ApprovalStatus.EXPIRED, now),))
    if run.failure is not None:
        return Write((finished(run, RunStatus.FAILED, now, failure=run.failure),))
    if run.retry_at is not None and now < run.retry_at:
        return Park(run.retry_at, RunStatus.QUEUED)
    if run.step is not None:
        return _go_on(run, graph, run.step, now)
    first = _first(run, graph, now) if run.steps == 0 else None
    return first or _next_step(run, graph, now)


def _next_step(run: Run, graph: Graph, now: datetime) -> Action:
    """No step is under way: begin one, or end."""
    if run.compensation is not None and run.compensation.nodes:
        return Write((start_step(run, graph.nodes[run.compensation.nodes[0]], undo=True),))
    if run.node in {END, JOIN}:
        return Write((_end(run, graph, now),))
    spent = overspent(run, graph)
    if spent is not None:
        return Write((finished(run, RunStatus.FAILED, now, failure=spent),))
    node = graph.nodes.get(run.node)
    if node is None:
        failure = Failure(category=Category.INTERNAL, reason="NODE_GONE", message=_ABSENT.format(run.node), where=run.node)
        return Write((finished(run, RunStatus.FAILED, now, failure=failure),))
    return Write(_enter(run, graph, node, now))


def _first(run: Run, graph: Graph, now: datetime) -> Action | None:
    """What has to be settled before a run's first step."""
    begin = run.options.not_before
    if begin is not None and now < begin:
        return Park(begin, RunStatus.QUEUED)
    if run.origin.parent_run_id and not run.origin.branch:
        problems = graph.input_problems(run.input)
        if problems:
            message = "; ".join(f"{path or 'the input'} {problem}" for path, problem in problems[:5])
            failure = Failure(category=Category.CONTEXT_INVALID, reason="INVALID_INPUT", message=message, where=graph.agent)
            return Write((finished(run, RunStatus.FAILED, now, failure=failure),))
    if run.options.thread_id and graph.keep and not run.joined_thread:
        return JoinThread()
    return None


def _go_on(run: Run, graph: Graph, step: Step, now: datetime) -> Action:
    """The next thing in the step that is under way."""
    node = graph.nodes[step.node]
    if step.undo:
        return Perform(node)
    kind = parent_kind(node)
    try:
        if kind is not None:
            outcome = tend(run, graph, node, kind, step, now)
        elif isinstance(node.kind, TimerNode | SignalNode) and step.waiting:
            outcome = look(run, node, node.kind, step, now)
        elif isinstance(node.kind, AgentNode) and step.turns and not last_calls_open(step):
            spent = overspent(run, graph) or _loop_overspent(node.kind, step)
            if spent is None:
                return Perform(node)
            outcome = Failed(failure=spent)
        else:
            return Perform(node)
    except ExpressionFailed as error:
        outcome = Failed(failure=context_invalid(node, "EXPRESSION_FAILED", str(error)))
    match outcome:
        case Done() | Failed():
            return Write(conclude(run, graph, node, outcome, 0.0, now))
        case Stop(entry=entry):
            return Write((entry,))
        case Begin() | Park():
            return outcome


def _loop_overspent(kind: AgentNode, step: Step) -> Failure | None:
    for name, spent, limit in (("tokens", step.usage.tokens, kind.tokens), ("cost_micros", step.usage.cost_micros, kind.cost_micros)):
        if limit and spent >= limit:
            message = f"the agent's budget of {limit} {name} is used up"
            return Failure(category=Category.BUDGET_EXCEEDED, reason=f"BUDGET_{name.upper()}", message=message, where=step.node)
    return None


def _enter(run: Run, graph: Graph, node: Node, now: datetime) -> tuple[Entry, ...]:
    """Begin a node; one that touches nothing outside is done at once."""
    try:
        broken = next((text.text for text in node.require if not text.holds(scope_of(run))), None)
        if broken is not None:
            failure = context_invalid(node, "REQUIRE_BROKEN", f"does not hold before the step: {broken}")
            return (failed(run, graph, node, failure, None),)
        if node.kind_name in PURE_KINDS:
            return compute(run, graph, node)
        if isinstance(node.kind, TimerNode | SignalNode):
            return (start_step(run, node), begin_wait(run, node, node.kind, now))
    except ExpressionFailed as error:
        return (failed(run, graph, node, context_invalid(node, "EXPRESSION_FAILED", str(error)), None),)
    return (start_step(run, node),)


def conclude(run: Run, graph: Graph, node: Node, outcome: Done | Failed, seconds: float, now: datetime) -> tuple[Entry, ...]:
    """The entries that a performed step leaves: its delta, or its failure and where that leads."""
    usage, unsettled = outcome.usage, isinstance(outcome, Failed) and outcome.unsettled

    def fails(failure: Failure) -> tuple[Entry, ...]:
        return (*unanswered(run, failure), failed(run, graph, node, failure, now, usage=usage, seconds=seconds, unsettled=unsettled))

    if isinstance(outcome, Failed):
        return fails(outcome.failure)
    if run.step is not None and run.step.undo:
        return (StepFinished(node=node.name, node_kind="tool", delta={}, next="", usage=usage, seconds=seconds, undo=True),)
    scope = scope_of(run, result=outcome.result)
    ensure, save = ((), {}) if outcome.empty else (node.ensure, node.save)
    try:
        broken = next((text.text for text in ensure if not text.holds(scope)), None)
        if broken is not None:
            return fails(context_invalid(node, "ENSURE_BROKEN", f"does not hold after the step: {broken}"))
        changed = outcome.delta | {name: fill(template, scope) for name, template in save.items()}
    except ExpressionFailed as error:
        return fails(context_invalid(node, "EXPRESSION_FAILED", str(error)))
    unfit = delta_failure(run, graph, node, changed)
    if unfit is not None:
        return fails(unfit)
    delta, appended = compacted(run.state, changed)
    done = StepFinished(
        node=node.name,
        node_kind=node.kind_name,
        delta=delta,
        appended=appended,
        next=outcome.next or node.next,
        usage=usage,
        seconds=seconds,
        rehearsal=outcome.rehearsal,
        facts=outcome.facts or {},
        prompts={name: digest for name, digest in outcome.prompts.items() if name not in run.prompts},
        signal=outcome.signal,
        undoable=node.undo is not None,
        labels=tuple(label for label in outcome.labels if label not in run.labels),
    )
    return (done,)


def finished(run: Run, status: RunStatus, now: datetime, *, output: JsonValue = None, failure: Failure | None = None) -> RunFinished:
    """The last entry of a run."""
    seconds = (now - run.started_at).total_seconds() if run.started_at else 0.0
    return RunFinished(status=status, output=output, failure=failure, usage=run.usage, steps=run.steps, seconds=seconds)


def ended(run: Run, status: RunStatus, now: datetime, failure: Failure) -> tuple[Entry, ...]:
    """The end of a run in the middle of whatever it does."""
    return (*unanswered(run, failure), finished(run, status, now, failure=failure))


def unanswered(run: Run, why: Failure) -> tuple[Entry, ...]:
    """Answers for the calls that a model asked for and that nobody will answer: no call is left without a result."""
    if run.step is None or not last_calls_open(run.step):
        return ()
    gone: JsonObject = {"error": why.reason.lower(), "message": f"given up before the call came to an end: {why.message}"}
    calls = run.step.turns[-1].calls  # type: ignore[union-attr] # last_calls_open has looked
    answers = tuple(ToolAnswer(call_id=call.call_id, tool=call.tool, content=gone, is_error=True) for call in calls)
    return (StepProgressed(node=run.step.node, turn=ToolTurn(answers=answers)),)


def cancelled(run: Run, now: datetime, reason: str, by: str) -> tuple[Entry, ...]:
    """The end of a run that somebody cancels."""
    return ended(run, RunStatus.CANCELLED, now, cancellation(reason, by))


def cancellation(reason: str, by: str, *, unread: Exception | None = None) -> Failure:
    """Why a cancelled run did not succeed; `unread` is why its journal could not be read."""
    message = f"cancelled by {by or 'nobody named'}: {reason or 'no reason given'}"
    if unread is not None:
        message += f" (its journal could not be read: {unread})"
    return Failure(category=Category.POLICY_DENIED, reason="CANCELLED", message=message)


def decided(
    approval: Approval,
    status: ApprovalStatus,
    now: datetime,
    *,
    decided_by: str = "",
    comment: str = "",
    approved_by: tuple[str, ...] = (),
    arguments: JsonObject | None = None,
) -> ApprovalDecided:
    """The answer to a question."""
    return ApprovalDecided(
        approval_id=approval.approval_id,
        node=approval.node,
        status=status,
        decided_by=decided_by,
        comment=comment,
        seconds=(now - approval.asked_at).total_seconds(),
        approved_by=approved_by,
        arguments=arguments,
    )


def _end(run: Run, graph: Graph, now: datetime) -> Entry:
    try:
        output: JsonValue
        if run.origin.branch:
            output = changes(run.first_state, run.state)
        else:
            output = {name: fill(template, scope_of(run)) for name, template in graph.output.items()}
    except ExpressionFailed as error:
        failure = Failure(category=Category.CONTEXT_INVALID, reason="OUTPUT_FAILED", message=str(error), where=END)
        return finished(run, RunStatus.FAILED, now, failure=failure)
    size = len(dump_json(output))
    if size > OUTPUT_CAP_BYTES:
        message = f"the output has {size} bytes; the limit is {OUTPUT_CAP_BYTES}"
        failure = Failure(category=Category.CONTEXT_INVALID, reason="OUTPUT_TOO_LARGE", message=message, where=END)
        return finished(run, RunStatus.FAILED, now, failure=failure)
    return finished(run, RunStatus.SUCCEEDED, now, output=output)


def _late(run: Run) -> Failure:
    return Failure(category=Category.TIMEOUT, reason="RUN_DEADLINE", message="the run's deadline has passed", where=run.node)
