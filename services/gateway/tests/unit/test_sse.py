"""Entries become events; what ends a stream is told once and last."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from plimsoll.gateway.v1 import runs_pb2
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_gateway.transport.departure import Departure
from plimsoll_gateway.transport.sse import PROVISIONAL, EventStream
from plimsoll_runtime.errors import NotFound, unwrap


class Client:
    """Collects what is written; `gone` makes it break after so many writes."""

    def __init__(self, *, gone_after: int = 10_000) -> None:
        self.text = b""
        self._left = gone_after

    async def write(self, data: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConnectionResetError
        self.text += data


def stream(departure: Departure | None = None, heartbeat_s: float = 5.0) -> EventStream:
    return EventStream(
        lambda event: b'{"seq":%d}' % event.seq, lambda error: str(error).encode(), departure or Departure(), heartbeat_s=heartbeat_s
    )


async def silent() -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
    await asyncio.Event().wait()
    yield runs_pb2.FollowRunResponse()


class Entries:
    """A journal that notes when it is closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.told = 0
        self.closed = False

    async def follow(self) -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
        try:
            for seq in range(1, self.count + 1):
                self.told = seq
                yield runs_pb2.FollowRunResponse(event=run_events_pb2.RunEvent(seq=seq, step_started={}))
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


async def test_every_entry_is_an_event_in_order_and_the_end_comes_last():
    client = Client()
    await stream().send(Entries(100).follow(), client.write)
    blocks = client.text.decode().strip().split("\n\n")
    assert blocks[0] == "retry: 1000"
    assert blocks[1:-1] == [f'id: {seq}\nevent: stepStarted\ndata: {{"seq":{seq}}}' for seq in range(1, 101)]
    assert blocks[-1] == "event: end\ndata: {}"


async def test_an_error_before_the_first_entry_is_raised_and_nothing_is_written():
    client = Client()
    with pytest.raises(ExceptionGroup) as caught:
        await stream().send(Entries(0, NotFound("no run")).follow(), client.write)
    assert isinstance(unwrap(caught.value), NotFound)
    assert client.text == b""


async def test_an_error_after_entries_is_told_as_the_last_event():
    client = Client()
    await stream().send(Entries(2, ValueError("broken")).follow(), client.write)
    assert client.text.decode().endswith("\n\nevent: problem\ndata: broken\n\n")
    assert b"event: end" not in client.text


async def test_a_client_that_is_gone_closes_the_journal_and_little_was_read():
    entries = Entries(100_000)
    with pytest.raises(ExceptionGroup):
        await stream().send(entries.follow(), Client(gone_after=2).write)
    assert entries.closed
    assert entries.told < 100


async def test_when_the_gateway_leaves_the_stream_just_stops():
    departure = Departure()
    departure.announce()
    client = Client()
    await stream(departure).send(silent(), client.write)
    assert client.text == b"retry: 1000\n\n"


async def test_a_stream_that_is_open_already_hears_of_the_departure_and_sends_what_it_has_first():
    departure, client = Departure(), Client()

    async def told() -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
        yield runs_pb2.FollowRunResponse(event=run_events_pb2.RunEvent(seq=1, step_started={}))
        departure.announce()
        await asyncio.Event().wait()

    await stream(departure).send(told(), client.write)
    assert client.text == b'retry: 1000\n\nid: 1\nevent: stepStarted\ndata: {"seq":1}\n\n'


async def test_a_silent_stream_tells_the_client_that_it_is_still_there():
    client = Client(gone_after=5)
    with pytest.raises(ExceptionGroup):
        await stream(heartbeat_s=0.001).send(silent(), client.write)
    assert client.text.startswith(b"retry: 1000\n\n: still here\n\n")


async def test_provisional_text_has_no_id_so_that_the_cursor_stays_at_the_journal():
    async def told() -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
        for seq, event in ((7, {"step_started": {}}), (7, {"tokens_received": {"text": "Hel"}}), (7, {"tokens_retracted": {}})):
            yield runs_pb2.FollowRunResponse(event=run_events_pb2.RunEvent(seq=seq, **event))

    client = Client()
    await stream().send(told(), client.write)
    blocks = client.text.decode().strip().split("\n\n")
    assert blocks[1:] == [
        'id: 7\nevent: stepStarted\ndata: {"seq":7}',
        'event: tokensReceived\ndata: {"seq":7}',
        'event: tokensRetracted\ndata: {"seq":7}',
        "event: end\ndata: {}",
    ]


def test_only_what_the_journal_lacks_goes_without_an_id():
    kinds = {field.name for field in run_events_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert {kind for kind in kinds if kind.startswith("tokens_")} == PROVISIONAL


async def test_line_breaks_in_a_callers_json_do_not_break_the_event():
    client = Client()
    made = EventStream(lambda _: b'{\r\n"a":\n1\r}', lambda _: b"", Departure(), heartbeat_s=5)
    await made.send(Entries(1).follow(), client.write)
    assert b'data: {\ndata: "a":\ndata: 1\ndata: }\n\n' in client.text
