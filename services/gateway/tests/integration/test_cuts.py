"""A run followed through a hundred cuts, over each protocol, and by asking again and again: always the same sequence."""

import asyncio
import random

import pytest
from gateway_door import Door, open_door
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2

LENGTH = 300
CUTS = 100


def entry(seq: int) -> pb.FollowRunResponse:
    last = {"run_finished": {"status": run_pb2.RUN_STATUS_SUCCEEDED}}
    return pb.FollowRunResponse(
        event=run_events_pb2.RunEvent(run_id="run_1", seq=seq, **(last if seq == LENGTH else {"step_started": {"node": f"n{seq}"}}))
    )


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        opened.peers["orchestrator"].journal = [entry(seq) for seq in range(1, LENGTH + 1)]
        yield opened


def cuts() -> list[int]:
    """After how many entries each connection is cut."""
    return random.Random(8).choices([0, 1, 2, 3, 5], k=CUTS)


async def test_server_sent_events(door: Door):
    seen: list[int] = []
    for cut in [*cuts(), LENGTH]:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        wanted, ended = len(seen) + cut, False
        async with door.rest.get("/v1/runs/run_1/events", headers=headers) as response:
            async for raw in response.content:
                if raw.startswith(b"id: "):
                    seen.append(int(raw[4:]))
                ended = ended or raw == b"event: end\n"
                if len(seen) >= wanted and cut != LENGTH:
                    break
    assert seen == list(range(1, LENGTH + 1))
    assert ended


async def test_grpc(door: Door):
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    seen: list[int] = []
    for cut in [*cuts(), LENGTH + 1]:
        wanted = len(seen) + cut
        request = runs_pb2.FollowRunRequest(run_id="run_1", after_seq=seen[-1] if seen else 0)
        call = stub.FollowRun(request, metadata=(("authorization", f"Bearer {door.key}"),))
        async for answer in call:
            if len(seen) >= wanted:
                break
            seen.append(answer.event.seq)
        call.cancel()
    assert seen == list(range(1, LENGTH + 1))


async def poll(door: Door, after: int, more: str = "") -> dict:
    async with door.rest.get(f"/v1/runs/run_1/events:poll?afterSeq={after}{more}") as response:
        assert response.status == 200
        return await response.json()


async def test_long_polls(door: Door):
    seen: list[int] = []
    after, ended = 0, False
    while not ended:
        told = await poll(door, after, "&pageSize=7")
        seen += [int(event["seq"]) for event in told["events"]]
        after, ended = int(told["nextAfterSeq"]), told["ended"]
    assert seen == list(range(1, LENGTH + 1))
    again = await poll(door, after)
    assert (again["events"], again["ended"], again["nextAfterSeq"]) == ([], True, str(LENGTH))


async def test_a_poll_waits_for_the_first_entry_and_comes_back_with_nothing_when_there_is_none(door: Door):
    gate = asyncio.Event()
    door.peers["orchestrator"].journal = [gate, entry(1)]
    silent = await poll(door, 0, "&wait=0.3s")
    assert (silent["events"], silent["ended"], silent["nextAfterSeq"]) == ([], False, "0")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(poll(door, 0, "&wait=20s"))
        await asyncio.sleep(0)
        gate.set()
    assert [event["seq"] for event in waiting.result()["events"]] == ["1"]


@pytest.mark.parametrize("more", ["wait=51s", "wait=-1s", "pageSize=1001", "pageSize=-1", "afterSeq=-1"])
async def test_a_poll_that_cannot_be_is_refused(door: Door, more: str):
    async with door.rest.get(f"/v1/runs/run_1/events:poll?{more}") as response:
        assert response.status == 400
