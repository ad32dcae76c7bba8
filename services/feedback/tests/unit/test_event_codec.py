"""What comes over the wire is read exactly, or refused with the field that is wrong."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from feedback_samples import at, journal, model_call, search, stamped, timeout, tool_call
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.memory.v1 import memory_events_pb2, quality_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll_feedback.domain.events import Event, RunFinished, RunStarted, StepFailed, StepFinished, Unknown, Unremarkable
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import OperationKind
from plimsoll_feedback.errors import UnreadableEvent
from plimsoll_feedback.transport.event_codec import (
    model_call_completed,
    quality_drifted,
    quality_measured,
    run_advanced,
    search_completed,
    tool_call_completed,
)
from plimsoll_feedback.transport.event_fields import TEXT_CAP_CHARACTERS
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Category
from plimsoll_runtime.wire import duration_to_proto

DECODERS = (run_advanced, model_call_completed, tool_call_completed, search_completed, quality_measured, quality_drifted)
SAMPLES: list[tuple[Callable[[bytes], Event], Callable[[], Message]]] = [
    (run_advanced, lambda: journal()[2]),
    (model_call_completed, model_call),
    (tool_call_completed, tool_call),
    (search_completed, search),
]


@pytest.mark.parametrize(("decode", "sample"), SAMPLES)
def test_a_payload_that_is_no_message_is_unreadable(decode: Callable[[bytes], Event], sample: Callable[[], Message]) -> None:
    with pytest.raises(UnreadableEvent, match=f"not a {sample().DESCRIPTOR.full_name}: 3 bytes"):
        decode(b"\xff\xff\xff")


@pytest.mark.parametrize(("decode", "sample"), SAMPLES)
@pytest.mark.parametrize("field", ["tenant", "event_id", "start_time", "run_id", "time", "agent"])
def test_what_every_event_must_name_is_missed_by_its_name(
    decode: Callable[[bytes], Event], sample: Callable[[], Message], field: str
) -> None:
    message = sample()
    if field not in message.DESCRIPTOR.fields_by_name:
        return
    message.ClearField(field)
    with pytest.raises(UnreadableEvent, match=f"{field}: is (empty|absent)"):
        decode(message.SerializeToString())


@pytest.mark.parametrize("decode", DECODERS)
def test_an_empty_payload_is_unreadable(decode: Callable[[bytes], Event]) -> None:
    with pytest.raises(UnreadableEvent):
        decode(b"")


@given(payload=st.binary(max_size=200))
def test_no_payload_whatever_breaks_a_decoder(payload: bytes) -> None:
    for decode in DECODERS:
        with suppress(Invalid):
            decode(payload)


TOLD = {"step_finished", "step_failed", "approval_decided", "run_finished"}  # these have facts that feedback keeps, and checks
OTHERS = sorted({field.name for field in run_events_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields} - TOLD)
NEWER = b"\x9a\x06\x02hi"  # field 99, which no version has yet


@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_kind_of_entry_that_the_contract_has_is_no_dead_letter(kind: str) -> None:
    message = run_events_pb2.RunEvent()
    getattr(message, kind).SetInParent()
    event = run_advanced(stamped(message, 2).SerializeToString())
    assert isinstance(event.entry, RunStarted if kind == "run_started" else Unremarkable)
    assert observe(event).operation is None


def test_a_journal_entry_of_a_kind_that_only_a_newer_version_knows_is_passed_over() -> None:
    event = run_advanced(stamped(run_events_pb2.RunEvent(), 2).SerializeToString() + NEWER)
    assert isinstance(event.entry, Unknown)
    assert (event.run_id, event.seq) == ("run_1", 2)
    assert observe(event).operation is None


def test_a_journal_entry_that_tells_nothing_at_all_is_unreadable() -> None:
    with pytest.raises(UnreadableEvent, match="event: is absent"):
        run_advanced(stamped(run_events_pb2.RunEvent(), 1).SerializeToString())


@pytest.mark.parametrize("entry", [run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node="n")), journal()[-1]])
def test_an_entry_whose_values_were_left_out_for_their_size_is_kept(entry: run_events_pb2.RunEvent) -> None:
    message = stamped(entry, 9)
    message.abridged = True
    assert observe(run_advanced(message.SerializeToString())).operation is not None


def test_an_unknown_category_becomes_internal_with_its_reason() -> None:
    failure = timeout()
    failure.category = 99
    event = run_advanced(
        stamped(run_events_pb2.RunEvent(step_failed=run_events_pb2.StepFailed(node="n", failure=failure)), 2).SerializeToString()
    )
    assert isinstance(event.entry, StepFailed)
    assert (event.entry.failure.category, event.entry.failure.reason) == (Category.INTERNAL, "TOO_SLOW")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (run_events_pb2.RunEvent(step_failed=run_events_pb2.StepFailed(node="n")), "step_failed.failure: is absent"),
        (run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished()), "step_finished.node: is empty"),
        (
            run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node="n", facts=json_pb2.JsonValue(text="[1]"))),
            "step_finished.facts: is not a JSON object",
        ),
        (
            run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node="n", facts=json_pb2.JsonValue(text="{"))),
            "step_finished.facts: is not JSON",
        ),
        (
            run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node="n", duration=duration_to_proto(1e9))),
            "step_finished.duration: is 1e\\+09 s",
        ),
        (run_events_pb2.RunEvent(run_finished=run_events_pb2.RunFinished(status=run_pb2.RUN_STATUS_RUNNING)), "run_finished.status: is 2"),
        (run_events_pb2.RunEvent(run_finished=run_events_pb2.RunFinished(status=77)), "run_finished.status: is 77"),
        (
            run_events_pb2.RunEvent(approval_decided=run_events_pb2.ApprovalDecided(approval_id="apr_1")),
            "approval_decided.status: is 0",
        ),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused_by_its_field(entry: run_events_pb2.RunEvent, problem: str) -> None:
    with pytest.raises(UnreadableEvent, match=problem):
        run_advanced(stamped(entry, 2).SerializeToString())


def test_a_position_before_the_first_is_refused() -> None:
    with pytest.raises(UnreadableEvent, match="seq: is 0"):
        run_advanced(stamped(journal()[2], 0, when=at(0)).SerializeToString())


@pytest.mark.parametrize("text", ["r" * 201, "run\x00"])
def test_an_id_that_cannot_be_stored_is_refused(text: str) -> None:
    message = tool_call()
    message.work.run_id = text
    with pytest.raises(UnreadableEvent, match=r"work\.run_id"):
        tool_call_completed(message.SerializeToString())


def test_a_time_that_no_calendar_has_is_refused() -> None:
    message = tool_call()
    message.start_time.seconds = 10**15
    with pytest.raises(UnreadableEvent, match="start_time: is 1000000000000000 s after 1970"):
        tool_call_completed(message.SerializeToString())


def test_a_negative_duration_counts_as_none() -> None:
    message = tool_call()
    message.duration.CopyFrom(duration_to_proto(-0.25))
    assert tool_call_completed(message.SerializeToString()).duration_s == 0


def test_text_that_cannot_be_stored_is_mended_visibly() -> None:
    long = failure_pb2.Failure(category=failure_pb2.FAILURE_CATEGORY_TIMEOUT, reason="R", message="x\x00" + "y" * 5000)
    event = run_advanced(
        stamped(
            run_events_pb2.RunEvent(run_finished=run_events_pb2.RunFinished(status=run_pb2.RUN_STATUS_FAILED, failure=long)), 2
        ).SerializeToString()
    )
    assert isinstance(event.entry, RunFinished)
    assert event.entry.failure is not None
    assert event.entry.failure.message.startswith("x\ufffdyyy")
    assert event.entry.failure.message.endswith("y…")
    assert len(event.entry.failure.message) == TEXT_CAP_CHARACTERS


def test_a_nul_anywhere_in_the_facts_is_mended() -> None:
    facts = json_pb2.JsonValue(text='{"a\\u0000": ["b\\u0000", {"c": "\\u0000"}, 1]}')
    event = run_advanced(
        stamped(run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node="n", facts=facts)), 2).SerializeToString()
    )
    assert isinstance(event.entry, StepFinished)
    assert event.entry.facts == {"a\ufffd": ["b\ufffd", {"c": "\ufffd"}, 1]}


def test_quality_of_a_collection_is_read_with_its_figures() -> None:
    window = quality_pb2.QualityWindow(collection="handbook", searches=40, empty=0.25, best_similarity=float("nan"), used=0.5)
    window.start_time.FromJsonString("2026-01-01T12:00:00Z")
    window.end_time.FromJsonString("2026-01-01T12:05:00Z")
    message = memory_events_pb2.QualityMeasured(event_id="evt_q", tenant="acme", window=window)
    operation = observe(quality_measured(message.SerializeToString())).operation
    assert operation is not None
    assert (operation.kind, operation.name, operation.duration_s, operation.failure) == (OperationKind.QUALITY, "handbook", 300.0, None)
    assert (operation.facts["searches"], operation.facts["empty"], operation.facts["best_similarity"]) == (40, 0.25, None)


def test_drift_of_a_collection_is_read_with_what_moved_and_whether_it_is_over() -> None:
    drift = quality_pb2.Drift(collection="handbook", signal="empty", baseline=0.1, value=0.6, sigmas=5.0, searches=40)
    drift.start_time.FromJsonString("2026-01-01T12:00:00Z")
    message = memory_events_pb2.QualityDrifted(event_id="evt_d", tenant="acme", drift=drift, over=True)
    operation = observe(quality_drifted(message.SerializeToString())).operation
    assert operation is not None
    assert (operation.facts["drift"], operation.facts["value"], operation.facts["over"]) == ("empty", 0.6, True)


@pytest.mark.parametrize("decode", [quality_measured, quality_drifted])
def test_a_report_of_quality_without_a_time_is_refused(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(UnreadableEvent):
        decode(memory_events_pb2.QualityMeasured(event_id="evt_q", tenant="acme").SerializeToString())
