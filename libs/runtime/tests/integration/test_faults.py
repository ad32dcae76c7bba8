"""Faults on demand: at every edge, what was done and what was seen are what the kind of the fault says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.bus import Message
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.egress import EgressGuard, EgressRules
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.faults import Edge, FaultKind, Faults, fault_at, injecting, open_faults
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbound_http import HttpLimits, HttpRequest, OutboundHttp
from plimsoll_runtime.postgres import open_pool, translating
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.redis import translating as translating_redis
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.settings import PostgresSettings, RedisSettings, Secret
from plimsoll_testkit import eventually
from plimsoll_testkit.hostile_http import HostileHttp
from runtime_harbour import ARRIVED, STREAM, Pilot, connected, consuming, drained, numbers, ships, waiting
from runtime_probe import asking, serving

SHORT_S = 0.05


class Told:
    """A plan file, and the faults that follow it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "faults.json"
        self.faults = Faults("probe", self.path, logs.get("probe"))

    def plan(self, *rules: dict[str, object]) -> None:
        self.path.write_text(json.dumps({"name": "test", "rules": rules}))
        self.faults.look()

    def once(self, edge: Edge, kind: FaultKind, **rule: object) -> None:
        self.plan({"edge": edge, "kind": kind, "count": 1, "seconds": SHORT_S, **rule})


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


async def seen(act: Callable[[], Awaitable[object]]) -> str:
    """How a passage ended: "answered", or the reason of its error."""
    try:
        await act()
    except PlimsollError as error:
        return error.reason
    return "answered"


# kind → how often it is done, and how it is seen: (reason of a loss before, reason of a loss after)
DONE = {
    FaultKind.LATENCY: 1,
    FaultKind.SLOW: 1,
    FaultKind.ERROR: 0,
    FaultKind.TIMEOUT: 0,
    FaultKind.CUT: 1,
    FaultKind.MALFORMED: 1,
    FaultKind.DUPLICATE: 2,
}


def expected(kind: FaultKind, before: str, after: str) -> str:
    reasons = {FaultKind.ERROR: before, FaultKind.CUT: after, FaultKind.TIMEOUT: "DEADLINE_EXPIRED", FaultKind.MALFORMED: "GARBLED_ANSWER"}
    return reasons.get(kind, "answered")


@pytest.mark.parametrize("kind", DONE)
async def test_a_call_to_another_service(told: Told, kind: FaultKind):
    asked: list[bytes] = []

    async def ask(request: bytes, _: object) -> bytes:
        asked.append(request)
        return request

    async with serving(ask=ask) as served, asking(served.address) as asker:
        with injecting(told.faults), acting_for("acme"):
            told.once(Edge.RPC_CLIENT, kind, operation="plimsoll.test.v1.ProbeService/Ask", tenant="acme")
            assert await seen(lambda: call(asker.ask, b"hello", cap_s=5.0)) == expected(kind, "UNREACHABLE", "CUT_OFF")
            assert len(asked) == DONE[kind]
            assert await seen(lambda: call(asker.ask, b"again", cap_s=5.0)) == "answered"


@pytest.mark.parametrize(
    ("kind", "answers"), [(FaultKind.ERROR, 0), (FaultKind.CUT, 1), (FaultKind.MALFORMED, 1), (FaultKind.TIMEOUT, 0), (FaultKind.SLOW, 3)]
)
async def test_a_stream_from_another_service(told: Told, kind: FaultKind, answers: int):
    got: list[bytes] = []

    async with serving() as served, asking(served.address) as asker:

        async def follow() -> None:
            async for answer in stream(asker.watch, b"3", cap_s=5.0):
                got.append(answer)  # noqa: PERF401 - what came before the cut counts

        with injecting(told.faults), acting_for("acme"):
            told.once(Edge.RPC_CLIENT, kind)
            assert await seen(follow) == expected(kind, "UNREACHABLE", "CUT_OFF")
    assert len(got) == answers


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW, FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.CUT])
async def test_a_call_that_comes_in(told: Told, kind: FaultKind):
    asked: list[bytes] = []

    async def ask(request: bytes, _: object) -> bytes:
        asked.append(request)
        return request

    with injecting(told.faults):
        async with serving(ask=ask) as served:
            with injecting(None):
                async with asking(served.address) as asker:
                    told.once(Edge.RPC_SERVER, kind)
                    with acting_for("acme"):
                        assert await seen(lambda: call(asker.ask, b"hello", cap_s=5.0)) == expected(kind, "UNREACHABLE", "CUT_OFF")
    assert len(asked) == DONE[kind]


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW, FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.CUT])
@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_statement(told: Told, postgres_dsn: str, kind: FaultKind, in_transaction: bool):
    with injecting(told.faults):
        async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "public") as pool:
            await pool.execute("create table done (n int)")
            told.once(Edge.POSTGRES, kind, operation="insert")

            async def insert() -> None:
                with translating():
                    async with pool.acquire() as connection, connection.transaction() if in_transaction else nullcontext():
                        await connection.execute("insert into done values ($1)", 1)

            assert await seen(insert) == expected(kind, "DATABASE_UNAVAILABLE", "DATABASE_UNAVAILABLE")
            undone = in_transaction and kind is FaultKind.CUT  # with the connection went the transaction
            assert await pool.fetchval("select count(*) from done") == (0 if undone else DONE[kind])


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW, FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.CUT])
async def test_a_command_to_redis(told: Told, redis_url: str, kind: FaultKind):
    with injecting(told.faults):
        async with open_redis(RedisSettings(url=Secret(redis_url))) as redis:
            told.once(Edge.REDIS, kind, operation="incr*")

            async def increase() -> None:
                with translating_redis():
                    await redis.incr("done")

            assert await seen(increase) == expected(kind, "REDIS_UNAVAILABLE", "REDIS_UNAVAILABLE")
            assert int(await redis.get("done") or 0) == DONE[kind]


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW, FaultKind.ERROR, FaultKind.TIMEOUT, FaultKind.CUT])
async def test_commands_to_redis_that_go_out_together_as_those_of_limits_and_breakers_do(told: Told, redis_url: str, kind: FaultKind):
    with injecting(told.faults):
        async with open_redis(RedisSettings(url=Secret(redis_url))) as redis:
            told.once(Edge.REDIS, kind, operation="incr*")

            async def increase() -> None:
                pipe = redis.pipeline(transaction=False)
                pipe.execute_command("INCRBY", "done", 1)
                pipe.execute_command("INCRBY", "others", 1)
                with translating_redis():
                    await pipe.execute()

            assert await seen(increase) == expected(kind, "REDIS_UNAVAILABLE", "REDIS_UNAVAILABLE")
            assert int(await redis.get("done") or 0) == int(await redis.get("others") or 0) == DONE[kind]


@pytest.mark.parametrize("kind", DONE)
async def test_a_request_over_http(told: Told, kind: FaultKind):
    async with HostileHttp().serving() as server:
        guard = EgressGuard(EgressRules.parse([server.url], ["127.0.0.1/32"]))
        async with OutboundHttp(guard, HttpLimits(total_s=5.0)) as http:
            with injecting(told.faults):
                told.once(Edge.HTTP, kind, operation="127.0.0.1:*")
                ended = await seen(lambda: http.send(HttpRequest(method="POST", url=f"{server.url}/echo", body=b"1")))
        assert ended == expected(kind, "UNREACHABLE", "CONNECTION_BROKEN")
        assert len(server.paths()) == DONE[kind]


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.ERROR, FaultKind.CUT, FaultKind.DUPLICATE, FaultKind.TIMEOUT])
async def test_a_message_that_is_published(told: Told, nats_url: str, kind: FaultKind):
    """Whatever its publisher saw: published again, as the outbox does, it is there once."""
    async with connected(nats_url) as bus:
        await bus.ensure_stream(STREAM)
        pilot = Pilot()
        with injecting(told.faults):
            told.once(Edge.NATS_PUBLISH, kind, operation=ARRIVED)
            ended = await seen(lambda: bus.publish_all(ships(1)))
            assert ended == expected(kind, "NATS_UNAVAILABLE", "NATS_UNAVAILABLE")
            await bus.publish_all(ships(1, 2))
        async with consuming(bus, pilot):
            await eventually(lambda: drained(bus))
        assert numbers(pilot.taken) == [1, 2]


async def test_a_hint_that_is_dropped_is_not_heard_and_one_that_is_doubled_is_heard_twice(told: Told, nats_url: str):
    async with connected(nats_url) as bus, bus.listen("plimsoll.v1.harbour.hint.given") as listener:
        with injecting(told.faults):
            told.once(Edge.NATS_PUBLISH, FaultKind.DROP)
            await bus.notify("plimsoll.v1.harbour.hint.given", b"lost")
            told.once(Edge.NATS_PUBLISH, FaultKind.DUPLICATE)
            await bus.notify("plimsoll.v1.harbour.hint.given", b"twice")
        assert [await listener.next(5.0) for _ in range(2)] == [b"twice", b"twice"]


@pytest.mark.parametrize(
    ("kind", "handled"),
    [(FaultKind.ERROR, 1), (FaultKind.DROP, 1), (FaultKind.CUT, 2), (FaultKind.DUPLICATE, 2), (FaultKind.LATENCY, 1)],
)
async def test_a_message_that_is_handled(told: Told, nats_url: str, kind: FaultKind, handled: int):
    """None is lost; one whose acknowledgement is lost comes again."""
    with injecting(told.faults):
        async with connected(nats_url) as bus:
            await bus.ensure_stream(STREAM)
            await bus.publish_all(ships(1))
            times = 0

            async def handle(messages: Sequence[Message]) -> None:
                nonlocal times
                times += 1

            told.once(Edge.NATS_CONSUME, kind)
            async with consuming(bus, handle):
                await eventually(lambda: drained(bus))
            assert await waiting(bus) == 0
    assert times == handled


async def test_no_fault_outlives_the_deadline(told: Told):
    async with serving() as served, asking(served.address) as asker:
        with injecting(told.faults), acting_for("acme"), expiring(SHORT_S):
            told.once(Edge.RPC_CLIENT, FaultKind.TIMEOUT, seconds=600)
            async with asyncio.timeout(5.0):
                assert await seen(lambda: call(asker.ask, b"hello", cap_s=60.0)) == "DEADLINE_EXPIRED"


@asynccontextmanager
async def followed(path: Path) -> AsyncIterator[Faults]:
    async with open_faults("probe", str(path), logs.get("probe")) as faults:
        assert faults is not None
        yield faults


async def test_a_plan_holds_from_when_its_file_is_there_until_it_is_gone(tmp_path: Path):
    path = tmp_path / "faults.json"
    async with followed(path):
        assert fault_at(Edge.TOOL, "x") is None
        path.write_text(json.dumps({"name": "test", "rules": [{"edge": "tool", "kind": "error"}]}))
        await eventually(lambda: fault_at(Edge.TOOL, "x") is not None)
        path.unlink()
        await eventually(lambda: fault_at(Edge.TOOL, "x") is None)
        path.write_text("no plan")
        await asyncio.to_thread(path.read_text)
        assert fault_at(Edge.TOOL, "x") is None
    assert fault_at(Edge.TOOL, "x") is None


async def test_every_fault_is_counted(told: Told):
    metrics = Metrics()
    told.faults.count_in(metrics)
    told.plan({"edge": "tool", "kind": "cut", "count": 2})
    with injecting(told.faults):
        assert [fault_at(Edge.TOOL, "x") is not None for _ in range(3)] == [True, True, False]
    assert b'plimsoll_faults_injected_total{edge="tool",kind="cut"} 2.0' in metrics.render()


async def test_without_a_file_there_are_no_faults():
    async with open_faults("probe", "", logs.get("probe")) as faults:
        assert faults is None
        assert fault_at(Edge.TOOL, "x") is None
