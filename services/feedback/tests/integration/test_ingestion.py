"""Events of the other services become operations, each once, whatever happens meanwhile."""

import asyncio
import json
from collections.abc import Sequence
from math import isnan

from feedback_running import Outage, RunningFeedback, Start
from feedback_samples import ACME, approval, journal, model_call, search, stamped, tool_call
from google.protobuf.message import Message
from plimsoll.feedback.v1 import feedback_events_pb2, operation_pb2, signal_pb2
from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_runtime.bus import DEAD_LETTER_STREAM, Bus, ConsumerSpec, HandleBatch, Outgoing, service_stream
from plimsoll_runtime.bus import Message as BusMessage
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.rpc_client import call
from plimsoll_testkit.waiting import eventually

RUNS = "plimsoll.v1.orchestrator.run.advanced"
TOOLS = "plimsoll.v1.tool_dispatcher.call.completed"
MODELS = "plimsoll.v1.model_router.call.completed"
SEARCHES = "plimsoll.v1.memory.search.completed"


async def publish(bus: Bus, subject: str, messages: Sequence[Message | bytes], *, again: str = "") -> None:
    """As the outbox of the subject's service does; `again` makes the message ids differ, so that the stream takes repeats."""
    await bus.ensure_stream(service_stream(subject.split(".")[2]))
    await bus.publish_all(
        [
            Outgoing(
                subject=subject,
                payload=message if isinstance(message, bytes) else message.SerializeToString(),
                message_id=f"{subject}{number}{again}",
                tenant=ACME,
            )
            for number, message in enumerate(messages)
        ]
    )


async def listed(feedback: RunningFeedback, run_id: str = "run_1") -> list[operation_pb2.Operation]:
    with acting_for(ACME, "ada"):
        answer = await call(feedback.stub.ListOperations, pb.ListOperationsRequest(run_id=run_id, page_size=500), cap_s=60)
    return list(answer.operations)


async def count(feedback: RunningFeedback) -> int:
    with acting_for(ACME, "ada"):
        request = pb.CountFailuresRequest()
        request.after_time.FromJsonString("2025-01-01T00:00:00Z")
        return int((await call(feedback.stub.CountFailures, request, cap_s=60)).operations)


async def test_a_whole_run_is_told_once_its_events_are_published(feedback: RunningFeedback, bus: Bus) -> None:
    await publish(bus, RUNS, journal())
    await publish(bus, TOOLS, [tool_call(failed=True)])
    await publish(bus, MODELS, [model_call()])
    await publish(bus, SEARCHES, [search()])

    async def complete() -> bool:
        return len(await listed(feedback)) == 7

    await eventually(complete)
    kinds = [operation_pb2.OperationKind.Name(one.kind).removeprefix("OPERATION_KIND_") for one in await listed(feedback)]
    assert sorted(kinds) == ["APPROVAL", "MODEL_CALL", "RETRIEVAL", "RUN", "TOOL_CALL", "TRANSITION", "TRANSITION"]


async def test_an_event_published_twice_is_stored_once(feedback: RunningFeedback, bus: Bus) -> None:
    for again in ("", "again", "and again"):
        await publish(bus, TOOLS, [tool_call("evt_1"), tool_call("evt_2")], again=again)
    await publish(bus, TOOLS, [tool_call("evt_3")], again="last")

    async def last_arrived() -> bool:
        return any(one.operation_id == "evt_3" for one in await listed(feedback))

    await eventually(last_arrived)
    assert [one.operation_id for one in await listed(feedback)] == ["evt_1", "evt_2", "evt_3"]


async def test_events_in_the_wrong_order_tell_the_same_run(feedback: RunningFeedback, bus: Bus) -> None:
    await publish(bus, RUNS, journal()[::-1])
    await publish(bus, RUNS, journal("run_2"), again="in order")

    async def complete() -> bool:
        return len(await listed(feedback)) == len(await listed(feedback, "run_2")) == 4

    await eventually(complete)
    first, second = await listed(feedback), await listed(feedback, "run_2")
    assert [one.operation_id.removeprefix("run_1") for one in first] == [one.operation_id.removeprefix("run_2") for one in second]


async def test_events_published_before_feedback_first_ran_are_not_missed(start: Start, bus: Bus) -> None:
    await publish(bus, RUNS, journal())
    async with start() as feedback:

        async def complete() -> bool:
            return len(await listed(feedback)) == 4

        await eventually(complete)


async def test_a_message_that_cannot_be_read_goes_to_the_dead_letters_and_holds_up_no_other(feedback: RunningFeedback, bus: Bus) -> None:
    await publish(bus, TOOLS, [tool_call("evt_1"), b"\xff\xff", tool_call("evt_2"), tool_call("")])
    await publish(bus, RUNS, [stamped(run_events_pb2.RunEvent(), 1), journal()[2]])

    async def given_up() -> bool:
        tools = await feedback.gauge("plimsoll_dead_letters_total", "feedback_tool_dispatcher")
        runs = await feedback.gauge("plimsoll_dead_letters_total", "feedback_orchestrator")
        return (tools, runs) == (2, 1)

    await eventually(given_up)

    async def good_ones_stored() -> bool:
        return {one.operation_id for one in await listed(feedback)} == {"evt_1", "evt_2", "run_1.3"}

    await eventually(good_ones_stored)
    causes = await dead_letters(bus)
    assert causes["plimsoll.v1.dead_letter.feedback_orchestrator"] == [
        "UNREADABLE_EVENT: event: is absent (every journal entry tells something)"
    ]
    assert causes["plimsoll.v1.dead_letter.feedback_tool_dispatcher"] == [
        "UNREADABLE_EVENT: not a plimsoll.tool_dispatcher.v1.ToolCallCompleted: 2 bytes that cannot be decoded",
        "UNREADABLE_EVENT: event_id: is empty (every event names it)",
    ]


async def test_entries_of_new_and_unknown_kinds_are_passed_over_without_dead_letters(feedback: RunningFeedback, bus: Bus) -> None:
    newer = stamped(run_events_pb2.RunEvent(), 2).SerializeToString() + b"\x9a\x06\x02hi"  # field 99
    quarantined = run_events_pb2.RunEvent(run_quarantined=run_events_pb2.RunQuarantined(reason="three workers ended", evidence=["a", "b"]))
    await publish(bus, RUNS, [newer, stamped(quarantined, 2), journal()[2]])

    async def the_last_is_stored() -> bool:
        return {one.operation_id for one in await listed(feedback)} == {"run_1.3"}

    await eventually(the_last_is_stored)
    registry = feedback.app.metrics.registry
    assert registry.get_sample_value("plimsoll_feedback_unknown_entries_total") == 1
    assert registry.get_sample_value("plimsoll_dead_letters_total", {"durable": "feedback_orchestrator"}) in (None, 0)


async def dead_letters(bus: Bus) -> dict[str, list[str]]:
    """The causes by subject."""
    found: dict[str, list[str]] = {}
    for number in range(1, 4):
        letter = await bus._jetstream.get_msg(DEAD_LETTER_STREAM.name, seq=number)
        found.setdefault(letter.subject, []).append(letter.headers["Plimsoll-Cause"])
    return found


async def test_while_the_database_is_away_nothing_is_lost_and_the_lag_shows(feedback: RunningFeedback, bus: Bus, outage: Outage) -> None:
    await publish(bus, TOOLS, [tool_call("evt_before")])

    async def stored(number: int) -> bool:
        return await count(feedback) == number

    await eventually(lambda: stored(1))
    await outage.begin()
    for again in ("", "again"):
        await publish(bus, TOOLS, [tool_call(f"evt_{number}") for number in range(300)], again=f"during {again}")
    await publish(bus, RUNS, journal())

    async def lagging() -> bool:
        return await feedback.gauge("plimsoll_consumer_lag_messages", "feedback_tool_dispatcher") == 600

    await eventually(lagging)
    assert 0 < await feedback.gauge("plimsoll_consumer_oldest_seconds", "feedback_tool_dispatcher") < 60
    await outage.end()
    await eventually(lambda: stored(305))

    async def caught_up() -> bool:
        return await feedback.gauge("plimsoll_consumer_lag_messages", "feedback_tool_dispatcher") == 0

    await eventually(caught_up)
    assert await feedback.gauge("plimsoll_consumer_oldest_seconds", "feedback_tool_dispatcher") == 0
    assert isnan(await feedback.gauge("plimsoll_dead_letters_total", "feedback_tool_dispatcher"))


async def test_a_service_that_was_stopped_goes_on_where_it_was(start: Start, bus: Bus) -> None:
    async with start() as feedback:
        await publish(bus, TOOLS, [tool_call("evt_1")])

        async def first() -> bool:
            return await count(feedback) == 1

        await eventually(first)
    await publish(bus, TOOLS, [tool_call("evt_2")], again="later")
    async with start() as feedback:

        async def both() -> bool:
            return await count(feedback) == 2

        await eventually(both)


async def test_two_replicas_share_the_events(start: Start, bus: Bus) -> None:
    async with start() as one, start() as other:
        await publish(bus, TOOLS, [tool_call(f"evt_{number}") for number in range(500)])

        async def complete() -> bool:
            return await count(one) == await count(other) == 500

        await eventually(complete)


async def test_what_people_decided_becomes_a_signal_with_all_that_they_saw(feedback: RunningFeedback, bus: Bus) -> None:
    asked, decided = approval()
    await publish(bus, RUNS, [decided, *journal()[:1], asked])  # in the wrong order: the question comes last
    await publish(bus, RUNS, [decided], again="once more")

    async def signals() -> list[signal_pb2.Signal]:
        with acting_for(ACME, "ada"):
            return list((await call(feedback.stub.ListSignals, pb.ListSignalsRequest(run_id="run_1"), cap_s=60)).signals)

    async def known() -> bool:
        return bool(await listed(feedback))

    await eventually(known)

    async def complete() -> bool:
        return [bool(one.approval.proposal.text) for one in await signals()] == [True]

    await eventually(complete)
    [signal] = await signals()
    told = signal.approval
    assert (told.approved, [*told.decided_by], signal.comment, signal.source) == (False, ["ada", "grace"], "too much", "grace")
    assert json.loads(told.arguments.text) == {"amount": 5}
    proposal = json.loads(told.proposal.text)
    assert (proposal["summary"], proposal["tool"], proposal["arguments"]) == ("refund 500?", "refund", {"amount": 500})
    assert signal.operation_id == "run_1.5"


async def test_a_recorded_signal_is_announced(feedback: RunningFeedback, bus: Bus) -> None:
    await publish(bus, RUNS, journal()[:3])

    async def known() -> bool:
        return bool(await listed(feedback))

    await eventually(known)
    with acting_for(ACME, "ada"):
        request = pb.RecordSignalRequest(signal=signal_pb2.Signal(run_id="run_1", verdict=signal_pb2.VERDICT_GOOD))
        recorded = (await call(feedback.stub.RecordSignal, request, cap_s=60)).signal
    heard: list[BusMessage] = []

    async def hear(messages: Sequence[BusMessage]) -> None:
        heard.extend(messages)

    spec = ConsumerSpec(stream=service_stream("feedback"), durable="listener", subjects=("plimsoll.v1.feedback.signal.recorded",))
    await consume_until(bus, spec, hear, heard)
    event = feedback_events_pb2.SignalRecorded.FromString(heard[0].payload)
    assert (heard[0].message_id, event.tenant, event.signal) == (recorded.signal_id, ACME, recorded)


async def consume_until(bus: Bus, spec: ConsumerSpec, hear: HandleBatch, heard: list[BusMessage]) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bus.consume(spec, hear, stop))
        try:
            await eventually(lambda: heard)
        finally:
            stop.set()


async def test_each_source_has_its_gauges(feedback: RunningFeedback) -> None:
    for durable in ("feedback_orchestrator", "feedback_tool_dispatcher", "feedback_model_router", "feedback_memory"):

        async def known(durable: str = durable) -> bool:
            return await feedback.gauge("plimsoll_consumer_lag_messages", durable) == 0

        await eventually(known)
        assert f'plimsoll_consumer_oldest_seconds{{durable="{durable}"}} 0.0' in feedback.app.metrics.render().decode()
