"""Protobuf ↔ domain, and nowhere else: agents, runs, approvals, threads."""

from collections.abc import Iterator

from plimsoll.orchestrator.v1 import agent_pb2, run_pb2, thread_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_to_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_orchestrator.domain.explain import Obstacle
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Proposal, RunStatus
from plimsoll_orchestrator.domain.options import NO_LIMITS, PRIORITY_USUAL, Limits, RunOptions, RunOrigin, ThreadPolicy
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.ports import AgentVersion, ApprovalView, RunSummary, Thread
from plimsoll_orchestrator.service import RunView

_KEY_MOST = 200
_LIMIT_MOST = 10_000
_LATEST = 7_258_118_400  # 2200-01-01
_LATER = frozenset({run_pb2.THREAD_POLICY_UNSPECIFIED, run_pb2.THREAD_POLICY_ENQUEUE})


def agent_to_proto(version: AgentVersion, *, with_graph: bool) -> agent_pb2.Agent:
    graph = version.graph
    message = agent_pb2.Agent(
        name=graph.agent,
        digest=graph.digest,
        version=version.version,
        description=graph.description,
        input_schema=json_to_proto(graph.input_schema),
        accepts=agent_pb2.FileMapping(
            text_field=graph.accepts.text_field, base64_field=graph.accepts.base64_field, name_field=graph.accepts.name_field
        ),
        create_time=timestamp_to_proto(version.created_at),
    )
    if with_graph:
        message.graph.CopyFrom(json_to_proto(graph.canonical))
    return message


def summary_to_proto(summary: RunSummary) -> run_pb2.Run:
    message = run_pb2.Run(
        run_id=summary.run_id,
        agent=summary.agent,
        agent_digest=summary.agent_digest,
        status=status_to_proto(summary.status),
        seq=summary.seq,
        node=summary.node,
        steps=summary.steps,
        usage=usage_to_proto(summary.usage),
        create_time=timestamp_to_proto(summary.created_at),
        rehearsal=summary.rehearsal,
    )
    if summary.started_at is not None:
        message.start_time.CopyFrom(timestamp_to_proto(summary.started_at))
    if summary.finished_at is not None:
        message.finish_time.CopyFrom(timestamp_to_proto(summary.finished_at))
    return message


def run_to_proto(view: RunView) -> run_pb2.Run:
    message = summary_to_proto(view.summary)
    run = view.run
    message.input.CopyFrom(json_to_proto(run.input))
    message.state.CopyFrom(json_to_proto(run.state))
    if run.status is RunStatus.SUCCEEDED:
        message.output.CopyFrom(json_to_proto(run.output))
    if run.failure is not None:
        message.failure.CopyFrom(failure_to_proto(run.failure))
    message.options.CopyFrom(options_to_proto(run.options))
    message.origin.CopyFrom(origin_to_proto(run.origin))
    return message


def options_to_proto(options: RunOptions) -> run_pb2.RunOptions:
    message = run_pb2.RunOptions(
        priority=options.priority,
        thread_id=options.thread_id,
        concurrency_key=options.concurrency_key,
        concurrency_limit=options.concurrency_limit,
        follow_latest=options.follow_latest,
        stream_tokens=options.stream_tokens,
    )
    if options.thread_id:
        message.thread_policy = run_pb2.ThreadPolicy.Value(f"THREAD_POLICY_{options.thread_policy.name}")
    if options.not_before is not None:
        message.start_time.CopyFrom(timestamp_to_proto(options.not_before))
    if options.deadline is not None:
        message.deadline.CopyFrom(timestamp_to_proto(options.deadline))
    budget = options.budget
    if budget != NO_LIMITS:
        message.budget.CopyFrom(run_pb2.Budget(steps=budget.steps, tokens=budget.tokens, cost_micros=budget.cost_micros))
        if budget.seconds:
            message.budget.time.CopyFrom(duration_to_proto(budget.seconds))
    return message


def options_from_proto(message: run_pb2.RunOptions) -> RunOptions:
    """Raises Invalid with every field that makes no sense."""
    problems = [FieldProblem(f"options.{field}", problem, remedy) for field, problem, remedy in _option_problems(message)]
    if problems:
        raise Invalid("the options make no sense", reason="INVALID_OPTIONS", problems=problems)
    budget = message.budget
    policy = run_pb2.ThreadPolicy.Name(message.thread_policy).removeprefix("THREAD_POLICY_").lower()
    return RunOptions(
        priority=message.priority or PRIORITY_USUAL,
        not_before=timestamp_from_proto(message.start_time) if message.HasField("start_time") else None,
        deadline=timestamp_from_proto(message.deadline) if message.HasField("deadline") else None,
        budget=Limits(steps=budget.steps, tokens=budget.tokens, cost_micros=budget.cost_micros, seconds=duration_from_proto(budget.time)),
        thread_id=message.thread_id,
        thread_policy=ThreadPolicy.ENQUEUE if policy == "unspecified" else ThreadPolicy(policy),
        concurrency_key=message.concurrency_key,
        concurrency_limit=message.concurrency_limit or (1 if message.concurrency_key else 0),
        follow_latest=message.follow_latest,
        stream_tokens=message.stream_tokens,
    )


def _option_problems(message: run_pb2.RunOptions) -> Iterator[tuple[str, str, str]]:  # noqa: C901, PLR0912 - one line for each field
    if not 0 <= message.priority <= 9:
        yield "priority", f"is {message.priority}", "send 1 to 9, or 0 for 5"
    if message.thread_policy not in run_pb2.ThreadPolicy.values():
        yield "thread_policy", f"is {message.thread_policy}", "send a known value"
    if message.thread_policy and not message.thread_id:
        yield "thread_policy", "has no thread", "send thread_id as well"
    if message.thread_policy not in _LATER and message.HasField("start_time"):
        yield "thread_policy", "says what to do now, and start_time is later", "leave it out: a delayed run queues when its time comes"
    for field, value in (("thread_id", message.thread_id), ("concurrency_key", message.concurrency_key)):
        if len(value) > _KEY_MOST or "\0" in value:
            yield field, f"is longer than {_KEY_MOST} characters or holds U+0000", "use a shorter one, such as a UUID"
    if message.concurrency_limit and not message.concurrency_key:
        yield "concurrency_limit", "has no key", "send concurrency_key as well"
    if not 0 <= message.concurrency_limit <= _LIMIT_MOST:
        yield "concurrency_limit", f"is {message.concurrency_limit}", f"send 1 to {_LIMIT_MOST}"
    budget = message.budget
    for field, number in (
        ("steps", budget.steps),
        ("tokens", budget.tokens),
        ("cost_micros", budget.cost_micros),
        ("time", budget.time.seconds),
    ):
        if number < 0:
            yield f"budget.{field}", "is negative", "send 0 for no limit"
    for field, moment in (("start_time", message.start_time), ("deadline", message.deadline)):
        if not 0 <= moment.seconds < _LATEST:
            yield field, "is no time before the year 2200", "send an RFC 3339 time"
    if message.HasField("start_time") and message.HasField("deadline") and message.deadline.seconds <= message.start_time.seconds:
        yield "deadline", "is not after start_time", "send a later one"


def origin_to_proto(origin: RunOrigin) -> run_pb2.RunOrigin:
    return run_pb2.RunOrigin(
        parent_run_id=origin.parent_run_id,
        parent_seq=origin.parent_seq,
        place=origin.place,
        forked_run_id=origin.forked_run_id,
        forked_seq=origin.forked_seq,
        schedule=origin.schedule,
        requested_by=origin.requested_by,
        steered_run_id=origin.steered_run_id,
    )


def thread_to_proto(thread: Thread) -> thread_pb2.Thread:
    return thread_pb2.Thread(
        thread_id=thread.thread_id,
        active_run_id=thread.active_run_id,
        queued_runs=thread.queued_runs,
        last_run_id=thread.last_run_id,
        kept=json_to_proto(thread.kept),
        create_time=timestamp_to_proto(thread.created_at),
        update_time=timestamp_to_proto(thread.updated_at),
    )


def obstacle_to_proto(obstacle: Obstacle) -> run_pb2.Obstacle:
    message = run_pb2.Obstacle(reason=obstacle.reason, message=obstacle.message, subject=obstacle.subject)
    if obstacle.until is not None:
        message.until_time.CopyFrom(timestamp_to_proto(obstacle.until))
    return message


def approval_to_proto(view: ApprovalView) -> run_pb2.Approval:
    return approval_message(view.approval, view.run_id, view.agent)


def run_status_from_proto(value: run_pb2.RunStatus.ValueType) -> RunStatus | None:
    """None for unspecified: any. Raises Invalid for a number that is no status."""
    name = _enum_name(run_pb2.RunStatus, value, "status").removeprefix("RUN_STATUS_")
    return None if name == "UNSPECIFIED" else RunStatus(name.lower())


def approval_status_from_proto(value: run_pb2.ApprovalStatus.ValueType) -> ApprovalStatus | None:
    """None for unspecified: any. Raises Invalid for a number that is no status."""
    name = _enum_name(run_pb2.ApprovalStatus, value, "status").removeprefix("APPROVAL_STATUS_")
    return None if name == "UNSPECIFIED" else ApprovalStatus(name.lower())


def _enum_name(enum: object, value: int, field: str) -> str:
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined] # protobuf's enum wrapper
    except ValueError as error:
        raise Invalid(problems=(FieldProblem(field, f"is {value}", "send a known value"),)) from error


def status_to_proto(status: RunStatus) -> run_pb2.RunStatus.ValueType:
    return run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}")


def approval_status_to_proto(status: ApprovalStatus) -> run_pb2.ApprovalStatus.ValueType:
    return run_pb2.ApprovalStatus.Value(f"APPROVAL_STATUS_{status.name}")


def approval_message(approval: Approval, run_id: str, agent: str) -> run_pb2.Approval:
    message = run_pb2.Approval(
        approval_id=approval.approval_id,
        run_id=run_id,
        agent=agent,
        node=approval.node,
        summary=approval.summary,
        details=json_to_proto(approval.details),
        status=approval_status_to_proto(approval.status),
        ask_time=timestamp_to_proto(approval.asked_at),
        expire_time=timestamp_to_proto(approval.expires_at),
        decided_by=approval.decided_by,
        comment=approval.comment,
        approved_by=approval.approved_by,
        quorum=approval.terms.quorum,
    )
    if approval.proposal is not None:
        message.proposal.CopyFrom(_proposal(approval.proposal))
    if approval.decided_at is not None:
        message.decide_time.CopyFrom(timestamp_to_proto(approval.decided_at))
    return message


def _proposal(proposal: Proposal) -> tool_pb2.Proposal:
    return tool_pb2.Proposal(
        tool=proposal.tool,
        tool_digest=proposal.tool_digest,
        effective_arguments=json_to_proto(proposal.effective_arguments),
        call_digest=proposal.call_digest,
        terms=tool_pb2.ApprovalTerms(
            quorum=proposal.terms.quorum,
            four_eyes=proposal.terms.four_eyes,
            expires_in=duration_to_proto(proposal.terms.expires_s),
        ),
        policy_digest=proposal.policy_digest,
        credential_version=proposal.credential_version,
        message=proposal.message,
    )
