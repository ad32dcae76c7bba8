"""Requests and answers cross the wire unchanged; what a request may not say is refused with its field."""

from datetime import UTC, datetime

import pytest
from feedback_samples import at, failure, operation, signal
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.feedback.v1 import feedback_events_pb2, operation_pb2, signal_pb2
from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll_feedback.domain.operation import FailureCount, OperationFilter, OperationKind
from plimsoll_feedback.domain.paging import DEFAULT_PAGE_SIZE, PageRequest, Position
from plimsoll_feedback.domain.signal import Demonstrated, Ended, Judged, Relabelled, Remarked, Scored, SignalValue, Verdict
from plimsoll_feedback.errors import InvalidQuery, InvalidSignal
from plimsoll_feedback.transport.codec import (
    count_to_proto,
    draft_from_proto,
    filter_from_proto,
    operation_to_proto,
    page_from_proto,
    signal_recorded,
    signal_to_proto,
    time_from_proto,
    token_of,
)
from plimsoll_runtime.failures import Category, failure_from_proto

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))  # what a store takes
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
VALUES = (
    st.sampled_from(Verdict).map(lambda verdict: Judged(verdict=verdict))
    | st.floats(0, 1).map(lambda score: Scored(score=score))
    | st.sampled_from(Category).map(lambda category: Relabelled(category=category))
    | JSON.map(lambda answer: Demonstrated(answer=answer))
    | st.booleans().map(lambda succeeded: Ended(succeeded=succeeded))
    | st.just(Remarked())
)


@given(value=VALUES)
def test_a_signal_crosses_the_wire_unchanged(value: SignalValue) -> None:
    one = signal(1, value=value, of="op_1")
    back = draft_from_proto(signal_pb2.Signal.FromString(signal_to_proto(one).SerializeToString()), asked_by="nobody")
    assert (back.value, back.run_id, back.operation_id, back.comment, back.source) == (
        one.value,
        one.run_id,
        one.operation_id,
        one.comment,
        one.source,
    )


def test_a_signal_without_a_source_comes_from_whoever_asks() -> None:
    assert draft_from_proto(signal_pb2.Signal(run_id="run_1", outcome=True), asked_by="key_7").source == "key_7"


def test_who_records_a_signal_is_who_asks_whatever_it_says() -> None:
    told = signal_pb2.Signal(run_id="run_1", outcome=True, source="shop", recorded_by="somebody else")
    draft = draft_from_proto(told, asked_by="key_7")
    assert (draft.source, draft.recorded_by) == ("shop", "key_7")


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (signal_pb2.Signal(), "value: is absent"),
        (signal_pb2.Signal(verdict=signal_pb2.VERDICT_UNSPECIFIED), "verdict: is 0"),
        (signal_pb2.Signal(verdict=9), "verdict: is 9"),
        (signal_pb2.Signal(category=failure_pb2.FAILURE_CATEGORY_UNSPECIFIED), "category: is 0"),
        (signal_pb2.Signal(category=99), "category: is 99"),
        (signal_pb2.Signal(demonstration=json_pb2.JsonValue()), "demonstration: is empty"),
        (signal_pb2.Signal(demonstration=json_pb2.JsonValue(text="{")), "demonstration: is not JSON"),
        (signal_pb2.Signal(remark=False), "remark: is false"),
    ],
)
def test_a_signal_without_a_known_value_is_refused(message: signal_pb2.Signal, problem: str) -> None:
    with pytest.raises(InvalidSignal, match=problem) as refusal:
        draft_from_proto(message, asked_by="ada")
    assert all(one.remedy for one in refusal.value.problems)


def test_an_announced_signal_says_whose_it_is() -> None:
    event = signal_recorded(signal(1))
    message = feedback_events_pb2.SignalRecorded.FromString(event.payload)
    assert (event.event_id, event.subject, event.tenant) == ("sig_0001", "plimsoll.v1.feedback.signal.recorded", "acme")
    assert (message.event_id, message.tenant, message.signal.signal_id) == ("sig_0001", "acme", "sig_0001")


def test_an_operation_is_shown_whole() -> None:
    message = operation_to_proto(operation(1, failed=failure()))
    assert (message.operation_id, message.kind) == ("op_0001_tool_call", operation_pb2.OPERATION_KIND_TOOL_CALL)
    assert (message.start_time.ToDatetime(UTC), message.duration.ToMilliseconds()) == (at(1), 250)
    assert failure_from_proto(message.failure) == failure()
    assert (message.usage.cost_micros, message.facts.text) == (11, '{"attempts":1,"deep":{"list":[1,2.5,null,true,"é"]}}')


def test_an_operation_that_succeeded_has_no_failure() -> None:
    assert not operation_to_proto(operation(1)).HasField("failure")


def test_a_count_is_shown_whole() -> None:
    message = count_to_proto(FailureCount(category=Category.TIMEOUT, count=3, reasons=("A", "B"), last_at=at(1)))
    assert (message.category, message.count, [*message.reasons]) == (failure_pb2.FAILURE_CATEGORY_TIMEOUT, 3, ["A", "B"])


def test_a_filter_holds_what_was_asked_and_nothing_else() -> None:
    assert filter_from_proto(pb.ListOperationsRequest()) == OperationFilter()
    asked = pb.ListOperationsRequest(
        run_id="run_1",
        agent="support",
        kind=operation_pb2.OPERATION_KIND_RUN,
        category=failure_pb2.FAILURE_CATEGORY_TIMEOUT,
        failed_only=True,
    )
    assert filter_from_proto(asked) == OperationFilter(
        run_id="run_1", agent="support", kind=OperationKind.RUN, category=Category.TIMEOUT, failed_only=True
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListOperationsRequest(kind=99), "kind"),
        (pb.ListOperationsRequest(category=99), "category"),
        (pb.ListOperationsRequest(run_id="a\x00"), "run_id"),
        (pb.ListOperationsRequest(agent="a\x00"), "agent"),
    ],
)
def test_a_filter_that_nothing_can_match_is_refused(request_: pb.ListOperationsRequest, field: str) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        filter_from_proto(request_)
    assert [one.field for one in refusal.value.problems] == [field]


def test_an_absent_time_is_absent() -> None:
    assert time_from_proto(pb.CountFailuresRequest(), "after_time") is None
    assert time_from_proto(pb.CountFailuresRequest(before_time=Timestamp(seconds=1)), "before_time") == datetime(
        1970, 1, 1, 0, 0, 1, tzinfo=UTC
    )


def test_a_time_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="after_time: is 1000000000000000 s after 1970"):
        time_from_proto(pb.CountFailuresRequest(after_time=Timestamp(seconds=10**15)), "after_time")


class TestPageTokens:
    @given(when=st.datetimes(timezones=st.just(UTC)), row_id=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
    def test_a_token_leads_back_to_its_position(self, when: datetime, row_id: str) -> None:
        position = Position(at=when, id=row_id)
        assert page_from_proto(7, token_of(position, "q"), "q") == PageRequest(size=7, after=position)

    def test_without_size_and_token_the_first_page_has_the_default_size(self) -> None:
        assert page_from_proto(0, "", "q") == PageRequest(size=DEFAULT_PAGE_SIZE, after=None)

    def test_the_end_has_no_token(self) -> None:
        assert token_of(None, "q") == ""

    def test_a_token_of_another_list_is_refused(self) -> None:
        with pytest.raises(InvalidQuery, match="page_token: belongs to another list"):
            page_from_proto(7, token_of(Position(at=at(1), id="x"), "q"), "other")

    @given(token=st.text(min_size=1) | st.binary(min_size=1).map(lambda raw: raw.hex()))
    def test_a_made_up_token_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidQuery, match="page_token"):
            page_from_proto(7, token, "q")
