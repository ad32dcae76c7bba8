"""Durable consumers: nothing is lost, one message never spoils another, and they outlive the server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from plimsoll_runtime.bus import DEAD_LETTER_STREAM, DEAD_LETTERS, Bus, Message
from plimsoll_runtime.errors import DeadlineExpired, Invalid, Unavailable
from plimsoll_runtime.metrics import Metrics
from plimsoll_testkit import eventually
from runtime_harbour import (
    ARRIVED,
    CONSUMER,
    SOON,
    STREAM,
    Pilot,
    connected,
    consuming,
    drained,
    is_waiting,
    numbers,
    published,
    ships,
    waiting,
)
from runtime_own_nats import OwnNats, own_nats

# --- settling ----------------------------------------------------------------------------------------------------------------


async def test_a_batch_is_acknowledged_only_after_the_handler_returned(bus: Bus):
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(_: Sequence[Message]) -> None:
        entered.set()
        await release.wait()

    await bus.publish_all(ships(1, 2, 3))
    async with consuming(bus, hold):
        await entered.wait()
        assert await waiting(bus) == 3
        release.set()
        await eventually(lambda: drained(bus))


async def test_a_poisoned_message_is_isolated_and_buried_with_its_cause(bus: Bus, streams: JetStreamContext):
    def refuse(messages: Sequence[Message]) -> Exception | None:
        return ValueError("no such\r\nberth") if 3 in numbers(messages) else None

    metrics, pilot = Metrics(), Pilot(refuse)
    await bus.publish_all(ships(*range(6)))
    bus._metrics = metrics
    async with consuming(bus, pilot, replace(CONSUMER, attempts=2)):
        await eventually(lambda: drained(bus), within_s=SOON)
    assert sorted(numbers(pilot.taken)) == [0, 1, 2, 4, 5]
    assert pilot.batches.count([3]) == 2
    letter = await streams.get_last_msg(DEAD_LETTER_STREAM.name, f"{DEAD_LETTERS}.pilot")
    headers = letter.headers or {}
    assert (letter.data, headers["Plimsoll-Tenant"], headers["Plimsoll-Subject"]) == (b"3", "acme", ARRIVED)
    assert (headers["Plimsoll-Cause"], headers["Plimsoll-Attempts"]) == ("ValueError: no such berth", "2")
    assert headers["Plimsoll-Sequence"] == f"{STREAM.name}:4"
    assert headers["Nats-Msg-Id"] == "pilot:ship-3"
    assert 'plimsoll_dead_letters_total{durable="pilot"} 1.0' in metrics.render().decode()


async def test_what_breaks_its_contract_is_buried_at_once(bus: Bus, streams: JetStreamContext):
    pilot = Pilot(lambda messages: Invalid("not a ship", reason="NO_SHIP") if 1 in numbers(messages) else None)
    await bus.publish_all(ships(1))
    async with consuming(bus, pilot):
        await eventually(lambda: drained(bus), within_s=SOON)
    assert pilot.batches == [[1]]
    letter = await streams.get_last_msg(DEAD_LETTER_STREAM.name, f"{DEAD_LETTERS}.pilot")
    assert (letter.headers or {})["Plimsoll-Cause"] == "NO_SHIP: not a ship"


async def test_a_letter_too_large_for_its_cause_is_buried_without_its_payload(bus: Bus, streams: JetStreamContext):
    async def refuse(_: Sequence[Message]) -> None:
        raise Invalid("x" * 1000)

    await bus.publish(ARRIVED, bytes(1_048_400), message_id="large", tenant="acme")
    async with consuming(bus, refuse):
        await eventually(lambda: drained(bus), within_s=SOON)
    letter = await streams.get_last_msg(DEAD_LETTER_STREAM.name, f"{DEAD_LETTERS}.pilot")
    assert (letter.data or b"", (letter.headers or {})["Plimsoll-Sequence"]) == (b"", f"{STREAM.name}:1")


@pytest.mark.parametrize("later", [Unavailable(), DeadlineExpired(), ExceptionGroup("", [Unavailable()])])
async def test_what_can_be_done_later_comes_back_whole_as_often_as_it_takes_and_never_counts(
    bus: Bus, later: Exception, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("plimsoll_runtime.bus.consuming._LATER_FIRST_S", 0.01)
    monkeypatch.setattr("plimsoll_runtime.bus.consuming._LATER_MOST_S", 0.01)
    pilot = Pilot()
    outage = [later] * 6 + [ValueError("once")]  # one fault after six outages is a first attempt, not a seventh
    pilot.refuse = lambda _: outage.pop(0) if outage else None
    await bus.publish_all(ships(1))
    async with consuming(bus, pilot, replace(CONSUMER, attempts=2)):
        await eventually(lambda: drained(bus), within_s=SOON)
    assert numbers(pilot.taken) == [1]
    assert pilot.batches == [[1]] * 8
    assert pilot.taken[0].attempt == 8


async def test_the_pauses_of_what_comes_later_grow(bus: Bus, caplog: pytest.LogCaptureFixture):
    pilot = Pilot(lambda _: Unavailable())
    await bus.publish_all(ships(1))
    async with consuming(bus, pilot):
        await eventually(lambda: len(pilot.batches) >= 3, within_s=SOON)
    delays = [record.__dict__["fields"]["delay_s"] for record in caplog.records if record.message == "bus.batch_later"]
    assert 0.2 <= delays[0] <= 0.4 <= delays[1] <= 0.8 <= delays[2] <= 1.6


async def test_a_handler_that_hangs_is_cut_off_when_its_time_is_up(bus: Bus):
    ended: list[str] = []

    async def hang(messages: Sequence[Message]) -> None:
        if len(ended) == 0:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cut off")
        ended.append(f"took {numbers(messages)}")

    await bus.publish_all(ships(1))
    async with consuming(bus, hang, replace(CONSUMER, ack_wait_s=0.3)):
        await eventually(lambda: drained(bus), within_s=SOON)
    assert ended == ["cut off", "took [1]"]


async def test_stopping_gives_back_what_was_not_handed_over(bus: Bus, streams: JetStreamContext):
    """The next consumer has it at once, not when the first one's time is up."""
    first, second = Pilot(), Pilot()
    stop = asyncio.Event()

    async def sent_all_three() -> bool:
        return (await streams.consumer_info(STREAM.name, CONSUMER.durable)).num_ack_pending == 3

    async def take_one_and_stop(messages: Sequence[Message]) -> None:
        stop.set()
        await first(messages)
        await bus.publish_all(ships(2, 3))
        await eventually(sent_all_three)
        await bus.ping()  # what was sent before this answer has come

    async with asyncio.TaskGroup() as group:
        consumed = group.create_task(bus.consume(replace(CONSUMER, ack_wait_s=60.0), take_one_and_stop, stop))
        await bus.publish_all(ships(1))
        await consumed
    async with consuming(bus, second, replace(CONSUMER, ack_wait_s=60.0)):
        await eventually(lambda: len(second.taken) == 2)
    assert (numbers(first.taken), sorted(numbers(second.taken))) == ([1], [2, 3])


async def test_two_processes_share_the_work(nats_url: str, bus: Bus):
    pilots = [Pilot(), Pilot()]
    small = replace(CONSUMER, batch=4)
    async with connected(nats_url) as other, consuming(bus, pilots[0], small), consuming(other, pilots[1], small):
        await bus.publish_all(ships(*range(100)))
        await eventually(lambda: sum(len(pilot.taken) for pilot in pilots) >= 100, within_s=SOON)
    assert sorted(numbers(pilots[0].taken) + numbers(pilots[1].taken)) == list(range(100))
    assert all(pilot.taken for pilot in pilots)


async def test_the_oldest_and_the_number_of_what_waits_are_known(bus: Bus):
    pilot = Pilot()
    async with consuming(bus, pilot):
        await bus.publish_all(ships(1))
        await eventually(lambda: pilot.taken)
        await eventually(lambda: drained(bus))
        assert await bus.oldest(CONSUMER) is None
    await bus.publish_all(ships(2, 3))
    await eventually(lambda: is_waiting(bus, 2))
    assert await bus.oldest(CONSUMER) is not None


# --- the server comes and goes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [OwnNats.stop, OwnNats.kill])
async def test_a_consumer_survives_a_restart_of_the_server(tmp_path: Path, end: Callable[[OwnNats], Awaitable[None]]):
    pilot = Pilot()
    async with own_nats(tmp_path) as server, connected(server.url) as bus:
        await bus.ensure_stream(STREAM)
        async with consuming(bus, pilot):
            await bus.publish_all(ships(1))
            await eventually(lambda: numbers(pilot.taken) == [1])
            await end(server)
            await server.start()
            await eventually(lambda: published(bus, 2), within_s=SOON)
            await eventually(lambda: numbers(pilot.taken) == [1, 2], within_s=SOON)


@pytest.mark.parametrize("gone", ["stream", "consumer"])
async def test_a_consumer_whose_stream_or_consumer_vanished_makes_it_anew(bus: Bus, streams: JetStreamContext, gone: str):
    pilot = Pilot()
    async with consuming(bus, pilot):
        await bus.publish_all(ships(1))
        await eventually(lambda: pilot.taken)
        if gone == "stream":
            await streams.delete_stream(STREAM.name)
        else:
            await streams.delete_consumer(STREAM.name, CONSUMER.durable)
        await eventually(lambda: published(bus, 2), within_s=SOON)
        await eventually(lambda: 2 in numbers(pilot.taken), within_s=SOON)
