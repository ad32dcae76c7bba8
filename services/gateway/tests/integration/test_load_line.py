"""Rates, shares and the backlog at the real door: told in headers, the same over both protocols, early whatever is slow behind."""

import asyncio
import socket
from collections import Counter

import grpc
import pytest
from gateway_door import Door, Wish, open_door
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll_gateway.config import BacklogSettings, BoundSettings, LimitSettings
from plimsoll_runtime.errors import Exhausted
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.waiting import eventually

SLOWLY = LimitSettings(key_requests=3, tenant_requests=5, window_s=600.0, tenants="vip=100")
STORM = 1500


@pytest.fixture
async def door(postgres_dsn: str, redis_url: str):
    async with open_door(postgres_dsn, Wish(limit=SLOWLY, redis_url=redis_url, bound=BoundSettings(tenant_requests=2))) as opened:
        yield opened


async def ask(door: Door, key: str = "") -> tuple[int, str, str]:
    async with door.rest.get("/v1/runs", headers={"Authorization": f"Bearer {key or door.key}"}) as response:
        await response.read()
        return response.status, response.headers.get("RateLimit", ""), response.headers.get("Retry-After", "")


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(door: Door):
    assert [(await ask(door))[0] for _ in range(4)] == [200, 200, 200, 429]
    status, left, later = await ask(door)
    assert status == 429
    assert left.startswith(f'"key";r=0;t={later}')
    assert 140 < int(later) <= 200, "one every 200 s; some of them may have passed since the first"
    second = await door.make_key()
    assert [(await ask(door, second))[0] for _ in range(3)] == [200, 200, 429], "five for the tenant, of which the first key took three"
    assert (await ask(door, await door.make_key(tenant="vip")))[1] == '"key";r=2;t=200, "tenant";r=99;t=6'


async def test_both_protocols_count_together_and_refuse_alike(door: Door):
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"),)
    call = stub.ListRuns(runs_pb2.ListRunsRequest(), metadata=metadata)
    await call
    assert dict(await call.trailing_metadata())["ratelimit"].startswith('"key";r=2;t=200, "tenant";r=4')
    assert [(await ask(door))[0] for _ in range(3)] == [200, 200, 429]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListRuns(runs_pb2.ListRunsRequest(), metadata=metadata)
    refused = error_from_rpc(caught.value, "gateway")
    assert (type(refused), refused.reason) == (Exhausted, "RATE_LIMITED")
    assert refused.retry_after_s == pytest.approx(200, abs=60)


async def test_a_storm_of_connections_is_answered_to_the_last_however_late_it_is_taken(door: Door):
    """The loop stands still meanwhile, as that of a process that gets no processor time: what connects waits in the kernel."""
    assert (await ask(door))[0] == 200  # so that the key is known, and the storm does not wait for the database
    request = f"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key}\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", int(door.url.rpartition(":")[2])), timeout=60) for _ in range(STORM)]
    try:
        for connection in connections:
            connection.sendall(request)
        heads = await asyncio.to_thread(lambda: [connection.recv(65536) for connection in connections])
    finally:
        for connection in connections:
            connection.close()
    statuses = Counter(head.split(b" ", 2)[1] for head in heads)
    assert set(statuses) <= {b"200", b"429"}
    assert statuses[b"429"] >= STORM - 6, "two go through, and three more when Redis was too slow to count them"
    assert all(b"\r\nRetry-After:" in head for head in heads if b" 429 " in head)


async def test_a_stranger_takes_nothing_of_anybodys_rate(door: Door):
    assert (await ask(door, "plk_nobody_" + "x" * 43))[0] == 401
    assert (await ask(door))[1].startswith('"key";r=2')


async def test_a_tenant_fills_its_own_places_and_no_more(door: Door):
    gate = asyncio.Event()
    door.peers["orchestrator"].answers["ListRuns"] = gate
    other = await door.make_key(tenant="other")
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(ask(door)) for _ in range(2)]
        await eventually(lambda: len(door.peers["orchestrator"].heard) == 2)
        assert (await ask(door))[0] == 429
        door.peers["orchestrator"].answers["ListRuns"] = pb.ListRunsResponse()
        assert (await ask(door, other))[0] == 200
        gate.set()
    assert [task.result()[0] for task in held] == [200, 200]


async def test_limits_hold_in_the_process_while_redis_is_away(postgres_dsn: str):
    async with open_door(postgres_dsn, Wish(limit=SLOWLY)) as door:
        assert [(await ask(door))[0] for _ in range(4)] == [200, 200, 200, 429]


async def test_a_full_queue_refuses_early_with_the_time_in_which_it_empties(postgres_dsn: str, redis_url: str):
    wish = Wish(backlog=BacklogSettings(runs=100), redis_url=redis_url, loops=True)
    async with open_door(postgres_dsn, wish) as door:
        orchestrator = door.peers["orchestrator"]
        orchestrator.answers["GetLoad"] = pb.GetLoadResponse(waiting_runs=149, finished_per_second=10)
        heard = len(orchestrator.heard)
        await eventually(lambda: sum(one.method == "GetLoad" for one in orchestrator.heard[heard:]) > 0)
        orchestrator.answers["StartRun"] = asyncio.Event()  # would never answer
        async with door.rest.post("/v1/agents/a/runs", json={"options": {"priority": 9}}) as response:
            problem = await response.json(content_type=None)
        assert (response.status, problem["reason"], response.headers["Retry-After"]) == (429, "QUEUE_FULL", "5")
        assert not any(one.method == "StartRun" for one in orchestrator.heard)
        orchestrator.answers["GetLoad"] = pb.GetLoadResponse(waiting_runs=10, finished_per_second=10)
        orchestrator.answers["StartRun"] = pb.StartRunResponse()

        async def submitted() -> bool:
            async with door.rest.post("/v1/agents/a/runs", json={}) as response:
                return response.status == 200

        await eventually(submitted)
