"""Small values to the wire and back."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st
from plimsoll.common.v1 import json_pb2, usage_pb2, work_pb2
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.usage import Usage, usage_from_proto, usage_to_proto
from plimsoll_runtime.wire import (
    duration_from_proto,
    duration_to_proto,
    json_from_proto,
    json_to_proto,
    object_from_proto,
    timestamp_from_proto,
    timestamp_to_proto,
)
from plimsoll_runtime.work import WorkContext, work_from_proto, work_to_proto

counts = st.integers(0, 2**53)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_moment_comes_back_to_the_microsecond(at: datetime):
    message = Timestamp.FromString(timestamp_to_proto(at).SerializeToString())
    assert timestamp_from_proto(message) == at
    assert message.ToDatetime(tzinfo=UTC) == at


@given(st.integers(-(10**15), 10**15).map(lambda nanos: nanos / 1e9))
def test_a_duration_comes_back_to_the_microsecond_and_is_a_valid_one(seconds: float):
    message = Duration.FromString(duration_to_proto(seconds).SerializeToString())
    assert duration_from_proto(message) == pytest.approx(seconds, abs=5.1e-7)
    assert abs(message.ToTimedelta() - timedelta(seconds=seconds)) <= timedelta(microseconds=1)


@given(st.floats(0, 315_360_000))
@example(0.0123455)  # between two microseconds, where two ways to round part
def test_a_moment_less_a_duration_is_the_same_before_and_after_the_wire(seconds: float):
    message = duration_to_proto(seconds)
    once = duration_from_proto(message)
    assert duration_to_proto(once) == message
    assert timedelta(seconds=once) == message.ToTimedelta()


@given(st.builds(Usage, input_tokens=counts, output_tokens=counts, cached_input_tokens=counts, reasoning_tokens=counts, cost_micros=counts))
def test_usage_comes_back_and_adds_up(usage: Usage):
    assert usage_from_proto(usage_pb2.Usage.FromString(usage_to_proto(usage).SerializeToString())) == usage
    assert usage + Usage() == usage
    assert (usage + usage).tokens == 2 * usage.tokens == 2 * (usage.input_tokens + usage.output_tokens)


@given(st.builds(WorkContext, run_id=words, step=st.integers(0, 2**31 - 1), node=words, agent=words, agent_version=words, epoch=counts))
def test_a_work_context_comes_back(work: WorkContext):
    assert work_from_proto(work_pb2.WorkContext.FromString(work_to_proto(work).SerializeToString())) == work


def test_json_comes_back_and_nothing_is_null_or_an_empty_object():
    value = {"a": [1, 2.5, "é", None, True]}
    assert json_from_proto(json_to_proto(value), "state") == object_from_proto(json_to_proto(value), "state") == value
    assert json_from_proto(json_pb2.JsonValue(), "state") is None
    assert object_from_proto(json_pb2.JsonValue(), "state") == {}


@pytest.mark.parametrize("text", ["{", "nul"])
def test_json_that_is_none_is_refused_by_name(text: str):
    with pytest.raises(Invalid, match="state: is not JSON"):
        json_from_proto(json_pb2.JsonValue(text=text), "state")


def test_an_object_is_wanted():
    with pytest.raises(Invalid, match="state: is not a JSON object"):
        object_from_proto(json_pb2.JsonValue(text="[1]"), "state")


@pytest.mark.parametrize("text", [r'"\u0000"', r'{"a":["x\u0000y"]}', r'{"\u0000":1}', r'"\\\u0000"'])
def test_a_text_that_no_store_takes_is_refused_by_name(text: str):
    with pytest.raises(Invalid, match=r"state: holds the character U\+0000"):
        json_from_proto(json_pb2.JsonValue(text=text), "state")


@pytest.mark.parametrize("text", [r'"\\u0000"', r'"\\\\u0000"', r'"u0000"', r'"\u00000".'[:-1].replace("00000", "00010")])
def test_what_only_looks_like_it_is_taken(text: str):
    json_from_proto(json_pb2.JsonValue(text=text), "state")


def test_json_nested_deeper_than_anything_sensible_is_refused_by_name():
    json_from_proto(json_pb2.JsonValue(text="[" * 100 + "]" * 100), "state")
    json_from_proto(json_pb2.JsonValue(text="[" + ",".join(["[]"] * 500) + "]"), "state")
    with pytest.raises(Invalid, match="state: is nested deeper than 100 levels"):
        json_from_proto(json_pb2.JsonValue(text="[" * 101 + "]" * 101), "state")
