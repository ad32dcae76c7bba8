"""The bus: nothing published is lost, one message never spoils another, and the server may come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from plimsoll_runtime.bus import (
    DEAD_LETTER_STREAM,
    DEAD_LETTERS,
    Bus,
    ConsumerSpec,
    HandleBatch,
    Message,
    MessageTooLarge,
    Outgoing,
    StreamSpec,
    open_bus,
    service_stream,
)
from plimsoll_runtime.errors import DeadlineExpired, Internal, Invalid, Unavailable
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import InvalidSettings, NatsSettings, Secret
from plimsoll_testkit import eventually
from runtime_own_nats import own_nats

STREAM = service_stream("harbour")
ARRIVED = "plimsoll.v1.harbour.ship.arrived"
CONSUMER = ConsumerSpec(stream=STREAM, durable="pilot", subjects=(ARRIVED,))
SOON = 10.0


@asynccontextmanager
async def connected(url: str, metrics: Metrics | None = None) -> AsyncIterator[Bus]:
    async with open_bus(NatsSettings(url=Secret(url)), "probe", metrics or Metrics()) as bus:
        yield bus


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with connected(nats_url) as opened:
        await opened.ensure_stream(STREAM)
        yield opened


@pytest.fixture
async def streams(nats_url: str) -> AsyncIterator[JetStreamContext]:
    """The server, seen without our code."""
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()


def ships(*numbers: int) -> list[Outgoing]:
    return [Outgoing(subject=ARRIVED, payload=str(number).encode(), message_id=f"ship-{number}", tenant="acme") for number in numbers]


def numbers(messages: Iterable[Message]) -> list[int]:
    return [int(message.payload) for message in messages]


class Pilot:
    """A handler that remembers what it took, and refuses what a test tells it to."""

    def __init__(self, refuse: Callable[[Sequence[Message]], Exception | None] = lambda _: None) -> None:
        self.taken: list[Message] = []
        self.batches: list[list[int]] = []
        self.refuse = refuse

    async def __call__(self, messages: Sequence[Message]) -> None:
        self.batches.append(numbers(messages))
        error = self.refuse(messages)
        if error is not None:
            raise error
        self.taken += messages


@asynccontextmanager
async def consuming(bus: Bus, handle: HandleBatch, spec: ConsumerSpec = CONSUMER) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bus.consume(spec, handle, stop))
        try:
            yield
        finally:
            stop.set()


async def drained(bus: Bus) -> bool:
    """Whether all that was published is acknowledged."""
    return await waiting(bus) == 0


async def is_waiting(bus: Bus, messages: int) -> bool:
    return await waiting(bus) == messages


async def waiting(bus: Bus) -> int | None:
    """How many messages are not acknowledged; None before the consumer is made."""
    try:
        return await bus.lag(CONSUMER)
    except Unavailable:
        return None


# --- publishing --------------------------------------------------------------------------------------------------------------


async def test_what_is_published_is_consumed_in_order_with_its_tenant_and_id(bus: Bus):
    pilot = Pilot()
    await bus.publish_all(ships(*range(300)))
    async with consuming(bus, pilot):
        await eventually(lambda: len(pilot.taken) >= 300)
        await eventually(lambda: drained(bus))
    assert numbers(pilot.taken) == list(range(300))
    assert {message.tenant for message in pilot.taken} == {"acme"}
    assert (pilot.taken[7].message_id, pilot.taken[7].subject, pilot.taken[7].attempt) == ("ship-7", ARRIVED, 1)
    assert max(map(len, pilot.batches)) <= CONSUMER.batch


async def test_a_message_published_twice_is_there_once(bus: Bus, streams: JetStreamContext):
    await bus.publish(ARRIVED, b"1", message_id="ship-1", tenant="acme")
    await bus.publish(ARRIVED, b"1", message_id="ship-1", tenant="acme")
    await bus.publish_all(ships(1, 2))
    assert (await streams.stream_info(STREAM.name)).state.messages == 2


async def test_a_subject_without_a_stream_is_not_published_in_silence(bus: Bus):
    with pytest.raises(Unavailable, match="no stream has this subject"):
        await bus.publish("plimsoll.v1.nowhere.ship.arrived", b"", message_id="1", tenant="acme")


@pytest.mark.parametrize("over", [0, 1])
async def test_a_message_is_refused_before_it_is_sent_exactly_when_the_server_would_refuse_it(
    bus: Bus, streams: JetStreamContext, over: int
):
    """The server counts the headers too, and ends the connection of who sends more."""
    headers = len(b"NATS/1.0\r\nNats-Msg-Id: 1\r\nPlimsoll-Tenant: acme\r\n\r\n")
    message = Outgoing(subject=ARRIVED, payload=bytes(1_048_576 - headers + over), message_id="1", tenant="acme")
    if over:
        with pytest.raises(MessageTooLarge):
            await bus.publish_all([*ships(5), message])
    else:
        await bus.publish_all([message])
    await bus.publish_all(ships(6))
    assert (await streams.stream_info(STREAM.name)).state.messages == (1 if over else 2)


async def test_publishing_stops_waiting_when_it_is_cancelled(tmp_path: Path):
    async with own_nats(tmp_path) as server, connected(server.url) as bus:
        await bus.ensure_stream(STREAM)
        await server.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(*(keep_trying(bus) for _ in range(3)))


async def keep_trying(bus: Bus) -> None:
    while True:
        try:
            await bus.publish_all(ships(1))
        except Unavailable:
            await asyncio.sleep(0)


async def test_many_publish_at_once_and_each_hears_of_its_own(bus: Bus):
    async def publish(number: int) -> str:
        subject = ARRIVED if number % 2 else "plimsoll.v1.nowhere.ship.arrived"
        try:
            await bus.publish(subject, b"", message_id=f"one-{number}", tenant="acme")
        except Unavailable:
            return "refused"
        return "taken"

    assert await asyncio.gather(*map(publish, range(100))) == ["refused", "taken"] * 50


# --- streams -----------------------------------------------------------------------------------------------------------------


async def test_many_may_make_the_same_stream_at_once(bus: Bus, streams: JetStreamContext):
    await asyncio.gather(*(bus.ensure_stream(STREAM) for _ in range(20)))
    assert (await streams.stream_info(STREAM.name)).config.max_age == STREAM.max_age_s


async def test_a_stream_is_brought_to_its_specification_and_keeps_its_messages(bus: Bus, streams: JetStreamContext):
    await bus.publish_all(ships(1))
    await bus.ensure_stream(replace(STREAM, max_age_s=3600.0))
    info = await streams.stream_info(STREAM.name)
    assert (info.config.max_age, info.state.messages) == (3600.0, 1)


@pytest.mark.parametrize(
    "impossible", [replace(STREAM, durable=False), replace(STREAM, name="PLIMSOLL_OTHER"), replace(STREAM, subjects=("bad subject",))]
)
async def test_a_stream_that_cannot_be_as_specified_is_told_as_a_fault(bus: Bus, impossible: StreamSpec):
    with pytest.raises(Internal) as caught:
        await bus.ensure_stream(impossible)
    assert caught.value.reason == "STREAM_REFUSED"


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


async def test_a_consumer_survives_a_restart_of_the_server(tmp_path: Path):
    pilot = Pilot()
    async with own_nats(tmp_path) as server, connected(server.url) as bus:
        await bus.ensure_stream(STREAM)
        async with consuming(bus, pilot):
            await bus.publish_all(ships(1))
            await eventually(lambda: numbers(pilot.taken) == [1])
            await server.restart()
            await eventually(lambda: published(bus, 2), within_s=SOON)
            await eventually(lambda: numbers(pilot.taken) == [1, 2], within_s=SOON)


async def published(bus: Bus, number: int) -> bool:
    try:
        await bus.publish_all(ships(number))
    except Unavailable:
        return False
    return True


async def test_a_server_that_is_away_is_told_at_once_and_by_the_ping(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with own_nats(tmp_path) as server, connected(server.url) as bus:
        await bus.ping()
        await server.stop()
        await eventually(lambda: "nats.disconnected" in [record.message for record in caplog.records])
        with pytest.raises(Unavailable):
            await bus.publish_all(ships(1))
        with pytest.raises(Unavailable):
            await bus.ping()
        await bus.notify("plimsoll.v1.harbour.tide.turned")  # nobody hears, nobody is told
        await server.start()
        await eventually(lambda: answers(bus), within_s=SOON)
    warnings = [record.message for record in caplog.records if record.name == "plimsoll.probe" and record.levelname == "WARNING"]
    assert len(warnings) <= 4  # not one for each try to connect


async def answers(bus: Bus) -> bool:
    try:
        await bus.ping()
    except Unavailable:
        return False
    return True


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


async def test_a_server_that_cannot_be_reached_is_unavailable_at_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.bus.connection._CONNECT_CAP_S", 0.3)
    with pytest.raises(Unavailable, match=r"NATS cannot be reached: .*Connect call failed"):
        async with connected("nats://127.0.0.1:1"):
            pass


async def test_a_wrong_password_is_unavailable_and_not_told(nats_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.bus.connection._CONNECT_CAP_S", 0.5)
    with pytest.raises(Unavailable, match="Authorization Violation") as caught:
        async with connected(nats_url.replace("@", "wrong@")):
            pass
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("url", ["nats://user:half/secret@host", "nats://", "nats://user:secret@host:port"])
async def test_a_url_that_makes_no_sense_is_told_without_a_word_of_it(url: str):
    with pytest.raises(InvalidSettings) as caught:
        async with connected(url):
            pass
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


# --- notifications -----------------------------------------------------------------------------------------------------------


async def test_a_notification_is_heard_by_who_listens_and_kept_by_nobody(nats_url: str, bus: Bus):
    tide = "plimsoll.v1.harbour.tide.turned.now"
    async with connected(nats_url) as other:
        await bus.notify(tide, b"too early")
        await bus.ping()
        async with other.listen(tide) as listener:
            await other.ping()  # the server knows of it
            await bus.notify(tide, b"high")
            assert await listener.next(SOON) == b"high"
            assert await listener.next(0.01) is None


async def test_who_listens_too_slowly_loses_the_newest(nats_url: str, bus: Bus):
    tide = "plimsoll.v1.harbour.tide.turned.now"
    async with connected(nats_url) as other, other.listen(tide, bound=2) as listener:
        await other.ping()
        for level in range(5):
            await bus.notify(tide, str(level).encode())
        await bus.ping()
        await other.ping()
        assert [await listener.next(0.05) for _ in range(3)] == [b"0", b"1", None]
