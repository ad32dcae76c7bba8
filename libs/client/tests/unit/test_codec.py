"""What comes over the wire is read whole, in Python's own types; what a newer mesh says breaks nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2, schedule_pb2, webhook_pb2
from plimsoll_client import events
from plimsoll_client.cli.journal import history_line
from plimsoll_client.codec.events import event_from_proto
from plimsoll_client.codec.options import options_from_proto, options_to_proto
from plimsoll_client.codec.plans import delivery_from_proto, schedule_from_proto, schedule_to_proto, webhook_from_proto, webhook_to_proto
from plimsoll_client.codec.runs import run_from_proto
from plimsoll_client.errors import BadInput
from plimsoll_client.models import RunStatus
from plimsoll_client.options import USUAL, Budget, RunOptions, RunOrigin, ThreadPolicy
from plimsoll_client.schedules import MissedPolicy, ScheduleDraft
from plimsoll_client.webhooks import DeliveryStatus, WebhookDraft

KINDS = [field.name for field in run_events_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields]
_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_COUNTS = st.integers(0, 2**31 - 1)
_TIMES = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone comes on top
OPTIONS = st.builds(
    RunOptions,
    priority=st.integers(0, 9),
    start_at=_TIMES,
    deadline=_TIMES,
    budget=st.builds(Budget, steps=_COUNTS, tokens=_COUNTS, cost_micros=_COUNTS, seconds=st.integers(0, 10**6).map(float)),
    thread_id=_TEXTS,
    thread_policy=st.none() | st.sampled_from([one for one in ThreadPolicy if one is not ThreadPolicy.UNKNOWN]),
    concurrency_key=_TEXTS,
    concurrency_limit=_COUNTS,
    follow_latest=st.booleans(),
    stream_tokens=st.booleans(),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_entry_that_the_contract_has_is_read_and_has_a_line(kind: str):
    message = run_events_pb2.RunEvent(run_id="run_1", seq=7)
    getattr(message, kind).SetInParent()
    entry = event_from_proto(message)
    assert entry.event.type == kind
    assert history_line(entry).startswith("   7")
    assert "\n" not in history_line(entry)


def test_an_entry_of_a_newer_mesh_is_one_of_its_own_kind():
    message = run_events_pb2.RunEvent(run_id="run_1", seq=7)
    message.MergeFromString(b"\x9a\x06\x02hi")  # field 99
    assert event_from_proto(message).event == events.OtherEvent()


@given(OPTIONS)
def test_options_come_back_as_they_were_given(options: RunOptions):
    message = options_to_proto(options)
    assert (message is None) == (options == USUAL)
    assert options_from_proto(message or run_pb2.RunOptions()) == options


@pytest.mark.parametrize("field", ["start_at", "deadline"])
def test_a_time_without_a_zone_is_refused_before_anything_is_sent(field: str):
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the mistake
    options = RunOptions(start_at=naive) if field == "start_at" else RunOptions(deadline=naive)
    with pytest.raises(BadInput, match=f"{field}: has no time zone"):
        options_to_proto(options)


@pytest.mark.parametrize(("status", "is_final"), [(RunStatus.PAUSED, False), (RunStatus.QUARANTINED, False), (RunStatus.FAILED, True)])
def test_new_states_of_a_run_have_their_own_words(status: RunStatus, *, is_final: bool):
    run = run_from_proto(run_pb2.Run(status=run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}")))
    assert (run.status, run.status.is_final, run.origin, run.options) == (status, is_final, None, USUAL)
    assert run_from_proto(run_pb2.Run(status=77)).status is RunStatus.UNKNOWN


def test_where_a_run_comes_from_is_read_whole():
    message = run_pb2.Run(origin={"parent_run_id": "run_0", "parent_seq": 4, "place": "2", "schedule": "nightly"})
    assert run_from_proto(message).origin == RunOrigin(parent_run_id="run_0", parent_seq=4, place="2", schedule="nightly")


def test_a_policy_of_a_newer_mesh_is_unknown():
    assert options_from_proto(run_pb2.RunOptions(thread_policy=99)).thread_policy is ThreadPolicy.UNKNOWN


def test_a_schedule_comes_back_as_it_was_put_with_its_times():
    draft = ScheduleDraft(
        name="nightly", agent="a", cron="0 3 * * *", input={"x": 1}, time_zone="Asia/Tokyo", missed=MissedPolicy.ALL, paused=True
    )
    message = schedule_to_proto(draft)
    message.name, message.last_problem = "nightly", "no agent is named a"
    message.next_time.FromJsonString("2026-03-02T03:00:00Z")
    schedule = schedule_from_proto(message)
    assert schedule.draft == draft
    assert (schedule.next_at, schedule.last_at) == (datetime(2026, 3, 2, 3, tzinfo=UTC), None)
    assert schedule.last_problem == "no agent is named a"
    assert schedule_from_proto(schedule_pb2.Schedule(missed=9)).draft.missed is MissedPolicy.UNKNOWN


def test_a_webhook_and_its_deliveries_are_read_whole():
    draft = WebhookDraft(name="shop", url="https://shop.example", agent="a", statuses=(RunStatus.FAILED,), disabled=True)
    message = webhook_to_proto(draft)
    message.name = "shop"
    assert webhook_from_proto(message).draft == draft
    delivery = delivery_from_proto(webhook_pb2.WebhookDelivery(delivery_id="d", status=webhook_pb2.DELIVERY_STATUS_DEAD, attempts=8))
    assert (delivery.id, delivery.status, delivery.attempts, delivery.delivered_at) == ("d", DeliveryStatus.DEAD, 8, None)


def test_a_duration_of_a_budget_is_seconds():
    message = options_to_proto(RunOptions(budget=Budget(seconds=timedelta(minutes=1.5).total_seconds())))
    assert message is not None
    assert message.budget.time.seconds == 90
