"""How a run may be started: every mistake is told at once, with its field and its remedy, and what can be meant passes."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_gateway.errors import InvalidOptions
from plimsoll_gateway.service.options import HORIZON, LATE, check_options
from plimsoll_runtime.wire import timestamp_to_proto
from plimsoll_testkit.clock import FakeClock

NOW = FakeClock().now()


def options(*, start_s: float | None = None, deadline_s: float | None = None, **fields: object) -> run_pb2.RunOptions:
    made = run_pb2.RunOptions(**fields)
    if start_s is not None:
        made.start_time.CopyFrom(timestamp_to_proto(NOW + timedelta(seconds=start_s)))
    if deadline_s is not None:
        made.deadline.CopyFrom(timestamp_to_proto(NOW + timedelta(seconds=deadline_s)))
    return made


def refused(made: run_pb2.RunOptions, *, repeatable: bool = False) -> list[str]:
    with pytest.raises(InvalidOptions) as caught:
        check_options(made, NOW, repeatable=repeatable)
    assert caught.value.reason == "INVALID_OPTIONS"
    assert all(problem.problem and problem.remedy for problem in caught.value.problems)
    return [problem.field for problem in caught.value.problems]


@pytest.mark.parametrize(
    "made",
    [
        options(),
        options(priority=1),
        options(priority=9),
        options(start_s=0),
        options(start_s=-LATE.total_seconds()),
        options(start_s=HORIZON.total_seconds()),
        options(start_s=60, deadline_s=61),
        options(thread_id="t 1"),
        options(thread_id="t", thread_policy=run_pb2.THREAD_POLICY_STEER),
        options(concurrency_key="account-7"),
        options(concurrency_key="account-7", concurrency_limit=1),
        options(budget={"steps": 1, "tokens": 1, "cost_micros": 1, "time": {"seconds": 1}}),
        options(follow_latest=True),
    ],
    ids=str,
)
def test_what_can_be_meant_passes(made: run_pb2.RunOptions):
    check_options(made, NOW)


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (options(priority=10), "options.priority"),
        (options(priority=-1), "options.priority"),
        (options(start_s=-61), "options.startTime"),
        (options(start_s=HORIZON.total_seconds() + 1), "options.startTime"),
        (options(deadline_s=0), "options.deadline"),
        (options(deadline_s=HORIZON.total_seconds() + 1), "options.deadline"),
        (options(start_s=60, deadline_s=60), "options.deadline"),
        (options(thread_id="t", thread_policy=17), "options.threadPolicy"),
        (options(thread_policy=run_pb2.THREAD_POLICY_REJECT), "options.threadPolicy"),
        (options(thread_id="t" * 201), "options.threadId"),
        (options(thread_id="a\nb"), "options.threadId"),
        (options(concurrency_limit=3), "options.concurrencyLimit"),
        (options(concurrency_key="k", concurrency_limit=-1), "options.concurrencyLimit"),
        (options(concurrency_key="k", concurrency_limit=10_001), "options.concurrencyLimit"),
        (options(concurrency_key="\x7f"), "options.concurrencyKey"),
        (options(budget={"steps": -1}), "options.budget.steps"),
        (options(budget={"tokens": -1}), "options.budget.tokens"),
        (options(budget={"cost_micros": -1}), "options.budget.costMicros"),
        (options(budget={"time": {"nanos": -1}}), "options.budget.time"),
        (run_pb2.RunOptions(start_time={"seconds": 10**15}), "options.startTime"),
        (run_pb2.RunOptions(deadline={"seconds": -(10**15)}), "options.deadline"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field(made: run_pb2.RunOptions, field: str):
    assert refused(made) == [field]


def test_every_mistake_is_told_at_once():
    made = options(priority=99, start_s=-3600, concurrency_limit=2, thread_policy=run_pb2.THREAD_POLICY_STEER, budget={"steps": -1})
    assert sorted(refused(made)) == [
        "options.budget.steps",
        "options.concurrencyLimit",
        "options.priority",
        "options.startTime",
        "options.threadPolicy",
    ]


def test_a_repeat_of_a_request_with_a_key_may_name_times_that_have_passed_since():
    check_options(options(start_s=-86_400, deadline_s=-3600), NOW, repeatable=True)
    assert refused(options(start_s=-3600, deadline_s=-86_400), repeatable=True) == ["options.deadline"]


_INT32, _INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)


@given(
    made=st.builds(
        run_pb2.RunOptions,
        priority=_INT32,
        concurrency_limit=_INT32,
        thread_id=st.text(st.characters(exclude_categories=("Cs",))),
        concurrency_key=st.text(st.characters(exclude_categories=("Cs",))),
        thread_policy=st.integers(0, 9),
        start_time=st.builds(dict, seconds=_INT64),
        deadline=st.builds(dict, seconds=_INT64),
        budget=st.builds(dict, steps=_INT64, tokens=_INT64),
    ),
    repeatable=st.booleans(),
)
def test_whatever_comes_over_the_wire_passes_or_is_refused_and_never_breaks_anything(made: run_pb2.RunOptions, *, repeatable: bool):
    with suppress(InvalidOptions):
        check_options(made, NOW, repeatable=repeatable)
        assert made.priority in range(10)
        assert not made.thread_policy or made.thread_id
