"""The bus: what is published is there once, streams are as specified, and the server may come and go."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from plimsoll_runtime.bus import Bus, MessageTooLarge, Outgoing, StreamSpec
from plimsoll_runtime.errors import Internal, Unavailable
from plimsoll_runtime.settings import InvalidSettings
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
    numbers,
    ships,
)
from runtime_own_nats import own_nats

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


# --- the server comes and goes -----------------------------------------------------------------------------------------------


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


async def test_a_server_that_confirms_nothing_is_told_apart_from_one_that_is_away(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    """As one does whose disk is full: it says so in its own log alone."""
    monkeypatch.setattr("plimsoll_runtime.bus.connection._PUBLISH_CAP_S", 0.05)
    async with bus.listen("plimsoll.v1.silence.kept.now"):  # it takes what comes, and confirms nothing
        with pytest.raises(Unavailable, match="is its disk full") as caught:
            await bus.publish("plimsoll.v1.silence.kept.now", b"", message_id="1", tenant="acme")
    assert caught.value.reason == "NATS_SILENT"


async def test_what_the_server_refuses_is_told_in_its_words(bus: Bus):
    too_much = replace(STREAM, name="PLIMSOLL_OCEAN", subjects=("plimsoll.v1.ocean.>",), max_bytes=1 << 50)
    with pytest.raises(Unavailable, match="NATS refuses: insufficient storage resources") as caught:
        await bus.ensure_stream(too_much)
    assert caught.value.reason == "NATS_REFUSED"


async def answers(bus: Bus) -> bool:
    try:
        await bus.ping()
    except Unavailable:
        return False
    return True


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
