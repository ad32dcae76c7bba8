"""A run's events: gap-free, resumable at every cursor, ended by the run alone, and gone when the client is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import grpc
import orjson
import pytest
from gateway_door import Door, Wish, open_door
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll_gateway.config import BoundSettings, HttpSettings
from plimsoll_runtime.errors import NotFound, Unavailable
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.waiting import eventually

PATH = "/v1/runs/run_1/events"


def entry(seq: int, **event: object) -> pb.FollowRunResponse:
    return pb.FollowRunResponse(event=run_events_pb2.RunEvent(run_id="run_1", seq=seq, **(event or {"step_started": {"node": f"n{seq}"}})))


JOURNAL = [
    entry(1, run_started={"input": {"text": '{\n  "a": 1\r\n}'}}),
    entry(2),
    entry(3, step_finished={"node": "n2", "delta": {"text": '{"x":12345678901234567890}'}}),
    entry(4),
    entry(5, run_finished={"status": run_pb2.RUN_STATUS_SUCCEEDED, "output": {"text": '"done"'}}),
]


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    kind: str
    data: str

    @property
    def document(self) -> dict[str, object]:
        return orjson.loads(self.data)


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Events as a browser would see them; comments are events of the kind `:`."""
    fields: dict[str, list[str]] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith(":"):
            yield Event("", ":", line)
        elif line:
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        elif "data" in fields:
            yield Event("".join(fields.get("id", [])), fields["event"][0], "\n".join(fields["data"]))
            fields = {}
        else:
            fields = {}


async def told(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Events without the heartbeats, which may come anywhere."""
    async for event in events(response):
        if event.kind != ":":
            yield event


async def follow(door: Door, path: str = PATH, headers: dict[str, str] | None = None) -> list[Event]:
    async with door.rest.get(path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        return [event async for event in told(response)]


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(
        postgres_dsn, Wish(http=HttpSettings(heartbeat_s=0.05, write_cap_s=0.5), bound=BoundSettings(streams=3))
    ) as opened:
        opened.peers["orchestrator"].journal = list(JOURNAL)
        yield opened


async def test_a_run_is_told_entry_by_entry_and_then_ended(door: Door):
    seen = await follow(door)
    assert [(event.id, event.kind) for event in seen] == [
        ("1", "runStarted"),
        ("2", "stepStarted"),
        ("3", "stepFinished"),
        ("4", "stepStarted"),
        ("5", "runFinished"),
        ("", "end"),
    ]
    assert seen[0].document["runStarted"] == {"input": {"a": 1}}
    assert '"delta":{"x":12345678901234567890}' in seen[2].data
    assert seen[4].document["runFinished"]["output"] == "done"


async def test_a_stream_cut_anywhere_goes_on_without_gap_or_repeat(door: Door):
    whole = await follow(door)
    for seq in range(6):
        assert await follow(door, headers={"Last-Event-ID": str(seq)}) == whole[seq:]
        assert await follow(door, f"{PATH}?afterSeq={seq}") == whole[seq:]
    assert await follow(door, f"{PATH}?afterSeq=1", headers={"Last-Event-ID": "4"}) == whole[4:]


async def test_provisional_text_comes_between_entries_and_never_moves_the_cursor(door: Door):
    peer = door.peers["orchestrator"]
    peer.journal = [
        *JOURNAL[:2],
        entry(2, tokens_received={"node": "n2", "step_seq": 2, "attempt": 1, "offset": 0, "text": "Hel"}),
        entry(2, tokens_retracted={"node": "n2", "step_seq": 2, "attempt": 1}),
        *JOURNAL[2:],
    ]
    seen = await follow(door, f"{PATH}?tokens=true")
    assert peer.heard[-1].request.tokens
    assert [(event.id, event.kind) for event in seen[1:5]] == [
        ("2", "stepStarted"),
        ("", "tokensReceived"),
        ("", "tokensRetracted"),
        ("3", "stepFinished"),
    ]
    assert seen[2].document["seq"] == "2"
    assert seen[2].document["tokensReceived"] == {"node": "n2", "stepSeq": "2", "attempt": "1", "offset": "0", "text": "Hel"}
    assert [event.id for event in await follow(door, f"{PATH}?tokens=true", headers={"Last-Event-ID": "2"})] == ["3", "4", "5", ""]


async def test_without_being_asked_for_no_provisional_text_is_asked_for(door: Door):
    await follow(door)
    assert not door.peers["orchestrator"].heard[-1].request.tokens


async def test_a_run_that_does_not_exist_is_no_stream(door: Door):
    door.peers["orchestrator"].journal = [NotFound("run run_1 does not exist", reason="RUN_NOT_FOUND")]
    async with door.rest.get(PATH) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["reason"]) == (404, "RUN_NOT_FOUND")


async def test_a_stream_that_breaks_says_why_and_keeps_its_cursor(door: Door):
    door.peers["orchestrator"].journal = [*JOURNAL[:2], Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE")]
    first = await follow(door)
    assert [event.kind for event in first] == ["runStarted", "stepStarted", "problem"]
    assert (first[-1].id, first[-1].document["reason"], first[-1].document["retryable"]) == ("", "DATABASE_UNAVAILABLE", True)
    door.peers["orchestrator"].journal = list(JOURNAL)
    rest = await follow(door, headers={"Last-Event-ID": first[-2].id})
    assert [event.id for event in rest] == ["3", "4", "5", ""]


async def test_silence_is_filled_with_heartbeats_and_the_answer_begins_before_any_entry(door: Door):
    waiting = asyncio.Event()
    door.peers["orchestrator"].journal = [waiting, *JOURNAL]
    async with door.rest.get(PATH) as response:
        seen = events(response)
        assert (await anext(seen)).kind == ":"
        assert (await anext(seen)).kind == ":"
        waiting.set()
        kinds = [event.kind async for event in told(response)]
    assert kinds[-1] == "end"
    assert len(kinds) == 6


async def test_a_client_that_leaves_ends_the_stream_behind(door: Door):
    peer = door.peers["orchestrator"]
    peer.journal = [JOURNAL[0], asyncio.Event()]
    async with door.rest.get(PATH) as response:
        assert (await anext(told(response))).kind == "runStarted"
        assert [stream.open for stream in peer.streams] == [True]
        response.close()
    await eventually(lambda: not peer.streams[0].open)


async def test_a_client_that_does_not_read_is_cut_off_and_little_is_read_for_it(door: Door):
    peer = door.peers["orchestrator"]
    big = orjson.dumps("x" * 500_000).decode()
    produced: list[int] = []

    def journal() -> Iterator[pb.FollowRunResponse]:
        for seq in range(1, 1001):
            produced.append(seq)
            yield entry(seq, run_started={"input": {"text": big}})

    peer.journal = journal()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]), limit=1024)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key}\r\n\r\n".encode())
    await reader.readline()
    await eventually(lambda: peer.streams and not peer.streams[0].open)
    assert len(produced) < 200
    writer.close()


async def test_a_client_that_does_not_read_the_text_of_a_run_is_cut_off_too(door: Door):
    peer = door.peers["orchestrator"]
    produced: list[int] = []

    def journal() -> Iterator[pb.FollowRunResponse]:
        yield JOURNAL[0]
        for offset in range(100_000):
            produced.append(offset)
            yield entry(1, tokens_received={"node": "n", "step_seq": 1, "attempt": 1, "offset": offset, "text": "x" * 50_000})

    peer.journal = journal()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]), limit=1024)
    writer.write(f"GET {PATH}?tokens=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key}\r\n\r\n".encode())
    await reader.readline()
    await eventually(lambda: peer.streams and not peer.streams[0].open)
    assert len(produced) < 2_000
    writer.close()


async def test_a_client_that_does_not_read_over_grpc_is_cut_off_and_goes_on_from_its_cursor(door: Door):
    peer = door.peers["orchestrator"]
    big = orjson.dumps("x" * 500_000).decode()
    whole = [entry(seq, run_started={"input": {"text": big}}) for seq in range(1, 201)]
    produced: list[int] = []

    def journal() -> Iterator[pb.FollowRunResponse]:
        for answer in whole:
            produced.append(answer.event.seq)
            yield answer

    peer.journal = journal()
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"),)
    call = stub.FollowRun(runs_pb2.FollowRunRequest(run_id="run_1"), metadata=metadata)
    seen = [(await anext(aiter(call))).event.seq]
    await eventually(lambda: peer.streams and not peer.streams[0].open)
    assert len(produced) < 150
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        seen += [answer.event.seq async for answer in call]
    assert error_from_rpc(caught.value, "gateway").reason == "READS_TOO_SLOWLY"
    assert seen == produced[: len(seen)]
    peer.journal = whole
    again = stub.FollowRun(runs_pb2.FollowRunRequest(run_id="run_1", after_seq=seen[-1]), metadata=metadata)
    assert seen + [answer.event.seq async for answer in again] == list(range(1, 201))


async def test_the_gateways_stop_ends_streams_at_once_without_an_end_event(door: Door):
    door.peers["orchestrator"].journal = [JOURNAL[0], asyncio.Event()]
    async with door.rest.get(PATH) as response:
        seen = told(response)
        assert (await anext(seen)).kind == "runStarted"
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(door.stop(grace_s=3600))
            assert [event async for event in seen] == []


async def test_more_streams_than_the_bound_are_refused_and_a_closed_one_makes_room(door: Door):
    peer = door.peers["orchestrator"]
    peer.journal = [JOURNAL[0], asyncio.Event()]
    responses = [await door.rest.get(PATH) for _ in range(3)]
    async with door.rest.get(PATH) as refused:
        problem = await refused.json(content_type=None)
    assert (refused.status, problem["reason"], refused.headers["Retry-After"]) == (429, "TOO_MANY_IN_FLIGHT", "1")
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(stub.FollowRun(runs_pb2.FollowRunRequest(run_id="run_1"), metadata=(("authorization", f"Bearer {door.key}"),))))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    responses.pop().close()
    peer.journal = list(JOURNAL)
    await eventually(lambda: follows(door))
    for response in responses:
        response.close()


async def follows(door: Door) -> bool:
    async with door.rest.get(PATH) as response:
        return response.status == 200


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30, "１"])
async def test_a_cursor_that_is_none_is_refused(door: Door, cursor: str):
    async with door.rest.get(PATH, headers={"Last-Event-ID": cursor}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["field"]) == (400, "Last-Event-ID")


async def test_a_negative_cursor_is_refused_over_both_protocols(door: Door):
    async with door.rest.get(f"{PATH}?afterSeq=-1") as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["field"]) == (400, "afterSeq")


async def test_grpc_followers_get_the_same_entries_and_their_leaving_ends_the_stream_behind(door: Door):
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"),)
    call = stub.FollowRun(runs_pb2.FollowRunRequest(run_id="run_1", after_seq=2), metadata=metadata)
    assert [answer.event async for answer in call] == [one.event for one in JOURNAL[2:]]
    peer = door.peers["orchestrator"]
    peer.journal = [JOURNAL[0], asyncio.Event()]
    call = stub.FollowRun(runs_pb2.FollowRunRequest(run_id="run_1"), metadata=metadata)
    assert (await anext(aiter(call))).event.seq == 1
    call.cancel()
    await eventually(lambda: not peer.streams[-1].open)
