"""What the bus carries of a journal: every entry, whatever its size."""

from datetime import UTC, datetime

import pytest
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalStatus,
    Entry,
    ModelTurn,
    Proposal,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepProgressed,
)
from plimsoll_orchestrator.ports import JournalEntry
from plimsoll_orchestrator.transport.event_codec import event_to_publish
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUS_CAP_BYTES = 1024 * 1024
HUGE = "x" * (3 * BUS_CAP_BYTES)
FAILURE = Failure(category=Category.CONTEXT_INVALID, reason="BROKEN", message=HUGE)
PROPOSAL = Proposal(tool="t", tool_digest="d", effective_arguments={"a": HUGE}, call_digest="c")


def published(entry: Entry) -> tuple[int, run_events_pb2.RunEvent]:
    payload = event_to_publish("acme", "agent", "digest", JournalEntry(run_id="run_1", seq=7, at=AT, epoch=2, entry=entry))
    return len(payload), run_events_pb2.RunEvent.FromString(payload)


@pytest.mark.parametrize(
    "entry",
    [
        RunStarted(input={"m": HUGE}),
        StepProgressed(node="n", turn=ModelTurn(message={"text": HUGE})),
        StepFinished(node="n", node_kind="tool", delta={"m": HUGE}, next="end", facts={"f": HUGE}, usage=Usage(input_tokens=3)),
        StepFailed(node="n", node_kind="tool", failure=FAILURE),
        ApprovalAsked(approval_id="apr_1", node="n", summary=HUGE, details={"d": HUGE}, proposal=PROPOSAL, expires_at=AT),
        ApprovalDecided(approval_id="apr_1", node="n", status=ApprovalStatus.APPROVED, comment=HUGE),
        RunFinished(status=RunStatus.SUCCEEDED, output={"m": HUGE}),
        RunFinished(status=RunStatus.FAILED, failure=FAILURE),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_an_entry_too_large_for_the_bus_is_published_without_its_values(entry: Entry) -> None:
    size, event = published(entry)
    assert size < BUS_CAP_BYTES // 4
    assert event.abridged
    assert (event.run_id, event.seq, event.tenant, event.epoch) == ("run_1", 7, "acme", 2)
    assert event.WhichOneof("event") is not None


def test_what_is_counted_survives_the_abridging() -> None:
    usage = Usage(input_tokens=3, cost_micros=5)
    _, step = published(StepFinished(node="n", node_kind="tool", delta={"m": HUGE}, next="end", facts={"tool": "t"}, usage=usage))
    assert step.step_finished.usage.input_tokens == 3
    assert step.step_finished.facts.text == '{"tool":"t"}'
    _, ended = published(RunFinished(status=RunStatus.FAILED, failure=FAILURE, usage=usage))
    assert ended.run_finished.failure.reason == "BROKEN"
    assert ended.run_finished.usage.cost_micros == 5


def test_an_entry_of_ordinary_size_is_published_whole() -> None:
    _, event = published(RunStarted(input={"m": "hello"}))
    assert not event.abridged
    assert event.run_started.input.text == '{"m":"hello"}'
