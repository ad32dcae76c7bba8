"""Many at once: clients that take back what they asked as fast as they can, and all the streams of a gateway that has to go."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

import psutil
import pytest
from gateway_door import Door, open_door
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll_testkit.waiting import eventually

ROUNDS, CONNECTIONS, RESETS = 3, 4, 200  # a thousand calls that wait at once are the most that gRPC holds before it turns new ones away
STREAMS = 200
MIB = 1024 * 1024
LIST_RUNS = b"/plimsoll.gateway.v1.GatewayService/ListRuns"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS, CANCEL = 1, 4, struct.pack(">I", 8)
Flood = Callable[[Door, str], Coroutine[None, None, None]]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value: bytes) -> bytes:
    """A text as HPACK has it, not compressed."""
    assert len(value) < 127
    return bytes([len(value)]) + value


def asked(key: str) -> bytes:
    """The head of a call, by the static table of HPACK: POST over http, the path, the authority, the kind of content, the key."""
    head = b"\x83\x86" + b"\x04" + text(LIST_RUNS) + b"\x01" + text(b"gateway") + b"\x0f\x10" + text(b"application/grpc")
    return head + b"\x00" + text(b"te") + text(b"trailers") + b"\x0f\x08" + text(f"Bearer {key}".encode())


async def over_http_2(door: Door, key: str) -> None:
    """Ask and take it back, over and over on one connection, and on a new one where the server has enough of it."""
    port, head, streams = int(door.grpc_address.rpartition(":")[2]), asked(key), iter(range(1, 2 * RESETS, 2))
    for first in streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(heard(reader))
            for stream in (first, *streams):
                call = frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, END_STREAM, stream, bytes(5))
                writer.write(call + frame(RESET, 0, stream, CANCEL))
                if listening.done():
                    break
                with suppress(OSError):
                    await writer.drain()
            with suppress(OSError):
                writer.write_eof()
        writer.close()


async def heard(reader: asyncio.StreamReader) -> None:
    """Whatever the server says, until it closes: a flood does not listen."""
    with suppress(OSError):
        while await reader.read(65536):
            pass


async def over_http_1(door: Door, key: str) -> None:
    """Ask and break the connection with a reset, over and over."""
    port = int(door.url.rpartition(":")[2])
    for _ in range(RESETS // 4):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(f"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def door(postgres_dsn: str) -> AsyncIterator[Door]:
    async with open_door(postgres_dsn) as opened:
        yield opened


@pytest.mark.parametrize("flood", [over_http_2, over_http_1])
@pytest.mark.parametrize("known", [True, False], ids=["by a client with a key", "by a stranger"])
async def test_a_flood_of_requests_that_are_taken_back_leaves_nothing_behind_and_others_are_served(door: Door, flood: Flood, known: bool):
    """Of a call that never ends by itself, which is the dearest kind to be reset."""
    key = await door.make_key(tenant="flooding") if known else "nobody"
    door.peers["orchestrator"].answers["ListRuns"] = asyncio.Event()
    await served(door)
    tasks, memory = len(asyncio.all_tasks()), psutil.Process(os.getpid()).memory_info().rss
    for _ in range(ROUNDS):
        async with asyncio.TaskGroup() as group:
            floods = [group.create_task(flood(door, key)) for _ in range(CONNECTIONS)]
            while not all(one.done() for one in floods):
                await served(door)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 2, within_s=60)
    assert psutil.Process(os.getpid()).memory_info().rss - memory < 64 * MIB
    await served(door)


async def served(door: Door) -> None:
    """Another tenant's client is answered, over both protocols."""
    async with door.rest.get("/v1/agents") as response:
        assert response.status == 200
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    await stub.GetRun(runs_pb2.GetRunRequest(run_id="run_1"), metadata=(("authorization", f"Bearer {door.key}"),))


def entry(seq: int) -> pb.FollowRunResponse:
    return pb.FollowRunResponse(event=run_events_pb2.RunEvent(run_id="run_1", seq=seq, step_started={"node": f"n{seq}"}))


LAST = pb.FollowRunResponse(event=run_events_pb2.RunEvent(run_id="run_1", seq=4, run_finished={"status": run_pb2.RUN_STATUS_SUCCEEDED}))


async def test_all_streams_of_a_gateway_that_goes_are_gone_on_with_at_the_next(postgres_dsn: str):
    cursors = dict.fromkeys(range(STREAMS), 0)

    async def follow(door: Door, number: int) -> list[int]:
        """From where this follower stands to wherever the stream ends."""
        stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
        request = runs_pb2.FollowRunRequest(run_id="run_1", after_seq=cursors[number])
        seen = []
        call = stub.FollowRun(request, metadata=(("authorization", f"Bearer {door.key}"),))
        async for answer in call:
            cursors[number] = answer.event.seq
            seen.append(answer.event.seq)
        return seen

    async def follow_to_the_break(door: Door, number: int) -> None:
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await follow(door, number)

    async with open_door(postgres_dsn) as leaving:
        leaving.peers["orchestrator"].journal = [entry(1), entry(2), asyncio.Event()]
        async with asyncio.TaskGroup() as group:
            for number in cursors:
                group.create_task(follow_to_the_break(leaving, number))
            await eventually(lambda: set(cursors.values()) == {2}, within_s=60)
            await leaving.stop(grace_s=0.5)
    async with open_door(postgres_dsn) as next_one:
        next_one.peers["orchestrator"].journal = [entry(1), entry(2), entry(3), LAST]
        async with asyncio.TaskGroup() as group:
            rests = [group.create_task(follow(next_one, number)) for number in cursors]
    assert [rest.result() for rest in rests] == [[3, 4]] * STREAMS
