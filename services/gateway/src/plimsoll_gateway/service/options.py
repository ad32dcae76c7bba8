"""How a run is started, judged at the edge: what cannot be meant is refused before anybody behind hears of it, every mistake at once."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import duration_from_proto, timestamp_from_proto

from plimsoll_gateway.errors import InvalidOptions

HORIZON = timedelta(days=366)
"""How far ahead a run may start or end: a time beyond it is a slip of the pen."""

LATE = timedelta(minutes=1)
"""How long past a start may be and still mean "now": clocks differ, and requests take their time."""

_PRIORITIES = range(10)
_LIMIT_MOST = 10_000
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_NAME_REMEDY = "use 1 to 200 characters, none of them a control character"


def check_options(options: run_pb2.RunOptions, now: datetime, *, repeatable: bool = False) -> None:
    """Raises InvalidOptions with every mistake.

    `repeatable` says that the request has a key of the caller's own: then a time that has passed since is no mistake here, because the
    request may be the repeat of one that was taken in time. The orchestrator knows.
    """
    problems = [
        *_order(options),
        *_thread(options),
        *_concurrency(options),
        *_budget(options),
        *_times(options, now, repeatable=repeatable),
    ]
    if problems:
        raise InvalidOptions(problems=problems)


def _order(options: run_pb2.RunOptions) -> Iterator[FieldProblem]:
    if options.priority not in _PRIORITIES:
        yield FieldProblem("options.priority", f"is {options.priority}", "use 1 to 9, higher first; 0 or none means 5")


def _thread(options: run_pb2.RunOptions) -> Iterator[FieldProblem]:
    policies = run_pb2.ThreadPolicy.DESCRIPTOR
    if options.thread_policy not in policies.values_by_number:
        names = ", ".join(value.name for value in policies.values if value.number)
        yield FieldProblem("options.threadPolicy", f"is {options.thread_policy}, which is no policy", f"use one of {names}")
    elif options.thread_policy and not options.thread_id:
        yield FieldProblem("options.threadPolicy", "is given without a thread", "name the thread in options.threadId, or leave it out")
    if options.thread_id and not _NAME.fullmatch(options.thread_id):
        yield FieldProblem("options.threadId", "cannot be the name of a thread", _NAME_REMEDY)


def _concurrency(options: run_pb2.RunOptions) -> Iterator[FieldProblem]:
    if not 0 <= options.concurrency_limit <= _LIMIT_MOST:
        yield FieldProblem("options.concurrencyLimit", f"is {options.concurrency_limit}", f"use 1 to {_LIMIT_MOST}")
    elif options.concurrency_limit and not options.concurrency_key:
        yield FieldProblem("options.concurrencyLimit", "is given without a key", "name in options.concurrencyKey what runs share")
    if options.concurrency_key and not _NAME.fullmatch(options.concurrency_key):
        yield FieldProblem("options.concurrencyKey", "cannot be a key", _NAME_REMEDY)


def _budget(options: run_pb2.RunOptions) -> Iterator[FieldProblem]:
    budget = options.budget
    for key, value in (("steps", budget.steps), ("tokens", budget.tokens), ("costMicros", budget.cost_micros)):
        if value < 0:
            yield FieldProblem(f"options.budget.{key}", f"is {value}", "use a positive number; 0 or none means no limit of the run's own")
    if duration_from_proto(budget.time) < 0:
        yield FieldProblem(
            "options.budget.time", "is negative", "use a positive duration such as 600s; none means no limit of the run's own"
        )


def _times(options: run_pb2.RunOptions, now: datetime, *, repeatable: bool) -> Iterator[FieldProblem]:
    start = _moment(options.start_time) if options.HasField("start_time") else None
    deadline = _moment(options.deadline) if options.HasField("deadline") else None
    if isinstance(start, datetime) and start < now - LATE and not repeatable:
        yield FieldProblem(
            "options.startTime", f"lies in the past: {start:%Y-%m-%dT%H:%M:%SZ}", "give a time to come, or none to start at once"
        )
    if isinstance(deadline, datetime) and deadline <= now and not repeatable:
        yield FieldProblem("options.deadline", f"lies in the past: {deadline:%Y-%m-%dT%H:%M:%SZ}", "give a time to come")
    for key, at in (("startTime", start), ("deadline", deadline)):
        if isinstance(at, str):
            yield FieldProblem(f"options.{key}", at, "give a time such as 2026-01-31T12:00:00Z")
        elif at is not None and at > now + HORIZON:
            yield FieldProblem(f"options.{key}", f"lies more than {HORIZON.days} days ahead", "give an earlier time")
    if isinstance(start, datetime) and isinstance(deadline, datetime) and deadline <= start:
        yield FieldProblem("options.deadline", "is not after options.startTime", "give the run time between its start and its deadline")


def _moment(stamp: Timestamp) -> datetime | str:
    """The time, or what is wrong with it: gRPC carries seconds that no calendar has."""
    try:
        return timestamp_from_proto(stamp)
    except OverflowError:
        return f"is {stamp.seconds} s after 1970, which no calendar has"
