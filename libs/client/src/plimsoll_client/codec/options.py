"""How runs are started and where they come from, both ways."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, timestamp_to_proto

from plimsoll_client.codec.words import moment, word
from plimsoll_client.errors import BadInput
from plimsoll_client.options import USUAL, Budget, RunOptions, RunOrigin, ThreadPolicy

_PREFIX = "THREAD_POLICY_"


def options_to_proto(options: RunOptions) -> run_pb2.RunOptions | None:
    """None for the usual ones. Raises BadInput for a time without a time zone."""
    if options == USUAL:
        return None
    budget = options.budget
    message = run_pb2.RunOptions(
        priority=options.priority,
        thread_id=options.thread_id,
        concurrency_key=options.concurrency_key,
        concurrency_limit=options.concurrency_limit,
        follow_latest=options.follow_latest,
        stream_tokens=options.stream_tokens,
        budget=run_pb2.Budget(
            steps=budget.steps, tokens=budget.tokens, cost_micros=budget.cost_micros, time=duration_to_proto(budget.seconds)
        ),
    )
    if options.start_at is not None:
        message.start_time.CopyFrom(_stamp(options.start_at, "start_at"))
    if options.deadline is not None:
        message.deadline.CopyFrom(_stamp(options.deadline, "deadline"))
    if options.thread_policy is not None:
        message.thread_policy = run_pb2.ThreadPolicy.Value(_PREFIX + options.thread_policy.name)
    return message


def options_from_proto(message: run_pb2.RunOptions) -> RunOptions:
    budget = message.budget
    return RunOptions(
        priority=message.priority,
        start_at=moment(message, "start_time", message.start_time),
        deadline=moment(message, "deadline", message.deadline),
        budget=Budget(steps=budget.steps, tokens=budget.tokens, cost_micros=budget.cost_micros, seconds=duration_from_proto(budget.time)),
        thread_id=message.thread_id,
        thread_policy=word(ThreadPolicy, run_pb2.ThreadPolicy.DESCRIPTOR, message.thread_policy, _PREFIX)
        if message.thread_policy
        else None,
        concurrency_key=message.concurrency_key,
        concurrency_limit=message.concurrency_limit,
        follow_latest=message.follow_latest,
        stream_tokens=message.stream_tokens,
    )


def origin_from_proto(message: run_pb2.RunOrigin) -> RunOrigin:
    return RunOrigin(
        parent_run_id=message.parent_run_id,
        parent_seq=message.parent_seq,
        place=message.place,
        forked_run_id=message.forked_run_id,
        steered_run_id=message.steered_run_id,
        forked_seq=message.forked_seq,
        schedule=message.schedule,
        requested_by=message.requested_by,
    )


def _stamp(at: datetime, field: str) -> Timestamp:
    if at.tzinfo is None:
        raise BadInput(problems=(FieldProblem(field, "has no time zone", "give an aware datetime, such as datetime.now(UTC)"),))
    return timestamp_to_proto(at)
