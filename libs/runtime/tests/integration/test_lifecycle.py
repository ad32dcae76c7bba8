"""Serving and draining in order, and the probes that tell of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Internal, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.health import AdminServer, Ping
from plimsoll_runtime.lifecycle import App, Loop, serve
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer
from plimsoll_testkit import eventually
from runtime_probe import Ask, asking, echo, probe_service, settings

SOON = 60.0


class Journal:
    """A server that writes down what is done with it."""

    def __init__(self, name: str = "server", fails: Exception | None = None) -> None:
        self.entries: list[str] = []
        self._name, self._fails = name, fails

    async def start(self) -> None:
        if self._fails:
            raise self._fails
        self.entries.append(f"{self._name} starts")

    async def set_serving(self, serving: bool) -> None:
        self.entries.append(f"{self._name} serves" if serving else f"{self._name} serves no more")

    async def stop(self, grace_s: float) -> None:
        self.entries.append(f"{self._name} stops")


@asynccontextmanager
async def probes(
    pings: dict[str, Ping] | None = None,
) -> AsyncIterator[tuple[AdminServer, Callable[[str], Awaitable[tuple[int, str, str]]]]]:
    """An admin server, and a way to ask it for (status, content type, body)."""
    admin = AdminServer("127.0.0.1:0")
    await admin.start()
    if pings is not None:
        admin.serve(pings, Metrics())
    async with aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str, str]:
            async with session.get(f"http://127.0.0.1:{admin.port}{path}") as response:
                return response.status, response.headers["Content-Type"], await response.text()

        try:
            yield admin, ask
        finally:
            await admin.stop()


async def well() -> None:
    return


def failing(error: Exception) -> Ping:
    async def ping() -> None:
        raise error

    return ping


async def forever() -> None:
    await asyncio.Event().wait()


# --- probes ------------------------------------------------------------------------------------------------------------------


async def test_a_process_is_alive_before_it_is_ready_and_after():
    async with probes() as (admin, ask):
        assert (await ask("/livez"))[0] == 200
        assert (await ask("/readyz"))[::2] == (503, '{"ready":false,"state":"starting","dependencies":{}}')
        admin.serve({"postgres": well}, Metrics())
        assert (await ask("/readyz"))[::2] == (200, '{"ready":true,"state":"serving","dependencies":{"postgres":"ok"}}')
        admin.drain()
        assert (await ask("/readyz"))[::2] == (503, '{"ready":false,"state":"draining","dependencies":{}}')
        assert (await ask("/livez"))[0] == 200


async def test_readiness_names_each_dependency_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.health._PING_CAP_S", 0.05)
    pings: dict[str, Ping] = {
        "postgres": well,
        "nats": failing(Unavailable("away", reason="NATS_UNAVAILABLE")),
        "redis": failing(ConnectionResetError("not translated")),
        "store": forever,
    }
    async with probes(pings) as (_, ask), asyncio.timeout(SOON):
        status, kind, body = await ask("/readyz")
    told = '{"postgres":"ok","nats":"NATS_UNAVAILABLE","redis":"ConnectionResetError","store":"TIMEOUT"}'
    assert (status, kind) == (503, "application/json")
    assert body == f'{{"ready":false,"state":"serving","dependencies":{told}}}'


async def test_dependencies_are_asked_side_by_side():
    meeting = asyncio.Barrier(3)

    async def meet() -> None:
        await meeting.wait()

    async with probes({"one": meet, "two": meet, "three": meet}) as (_, ask):
        assert (await ask("/readyz"))[0] == 200


async def test_metrics_are_text_for_prometheus():
    async with probes({}) as (_, ask):
        status, kind, body = await ask("/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert "version=" in kind
    assert "process_resident_memory_bytes" in body


async def test_a_taken_admin_port_is_named():
    async with probes() as (admin, _):
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{admin.port}: is the port taken\?"):
            await AdminServer(f"127.0.0.1:{admin.port}").start()


# --- serving -----------------------------------------------------------------------------------------------------------------


def app(*servers: object, loops: dict[str, Loop] | None = None, pings: dict[str, Ping] | None = None) -> App:
    return App(name="probe", metrics=Metrics(), servers=servers, loops=loops or {}, pings=pings or {})  # type: ignore[arg-type]


async def test_the_drain_goes_in_order():
    """Not ready, then no new work, then the loops are told, then the servers stop."""
    stop, journal = asyncio.Event(), Journal()
    async with probes() as (admin, ask):

        async def loop(draining: asyncio.Event) -> None:
            await draining.wait()
            journal.entries.append(f"loop is told, ready: {(await ask('/readyz'))[0] == 200}")

        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app(journal, loops={"one": loop}), admin, stop, drain_s=SOON))
            await eventually(lambda: "server serves" in journal.entries)
            stop.set()
    assert journal.entries[:3] == ["server starts", "server serves", "server serves no more"]
    assert sorted(journal.entries[3:]) == ["loop is told, ready: False", "server stops"]


async def rpc_server(ask: Ask) -> RpcServer:
    return RpcServer(settings(), [probe_service(ask)], PeerCertificates(frozenset(), insecure=True), Metrics(), logs.get("probe"))


async def test_work_in_flight_is_answered_during_the_drain():
    stop, entered, draining_seen = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def ask(request: bytes, _: object) -> bytes:
        entered.set()
        await draining_seen.wait()
        return request

    async def loop(draining: asyncio.Event) -> None:
        await draining.wait()
        draining_seen.set()

    server = await rpc_server(ask)
    async with probes() as (admin, _), asyncio.TaskGroup() as group:
        group.create_task(serve(app(server, loops={"one": loop}), admin, stop, drain_s=SOON))
        await eventually(lambda: server.port)
        async with asking(f"localhost:{server.port}") as asker:
            with acting_for("acme"):
                asked = group.create_task(call(asker.ask, b"mine", cap_s=SOON))
                await entered.wait()
                stop.set()
                assert await asked == b"mine"


async def test_what_outlasts_the_drain_is_cut_off_all_of_it_together():
    stop, entered, ended = asyncio.Event(), asyncio.Event(), list[str]()

    async def stubborn(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    async def ask(_: bytes, __: object) -> bytes:
        entered.set()
        await stubborn("request")
        return b""

    async def refused(asked: Awaitable[object]) -> PlimsollError | None:
        try:
            await asked
        except PlimsollError as error:
            return error
        return None

    servers = [await rpc_server(ask), await rpc_server(echo)]
    loops: dict[str, Loop] = {"one": lambda _: stubborn("loop one"), "two": lambda _: stubborn("loop two")}
    async with probes() as (admin, _), asyncio.TaskGroup() as group:
        serving = group.create_task(serve(app(*servers, loops=loops), admin, stop, drain_s=0.3))
        await eventually(lambda: servers[0].port)
        async with asking(f"localhost:{servers[0].port}") as asker:
            with acting_for("acme"):
                asked = group.create_task(refused(call(asker.ask, b"", cap_s=SOON)))
                await entered.wait()
            stop.set()
            begun = asyncio.get_running_loop().time()
            await serving
            took_s = asyncio.get_running_loop().time() - begun
        assert isinstance(await asked, Unavailable)
    assert sorted(ended) == ["loop one", "loop two", "request"]
    assert 0.3 <= took_s < 3.0  # one drain for all, not one after another and never without end


async def test_servers_drain_side_by_side():
    meeting = asyncio.Barrier(2)

    class Meeting(Journal):
        async def stop(self, grace_s: float) -> None:
            async with asyncio.timeout(SOON):
                await meeting.wait()
            await super().stop(grace_s)

    servers, stop = [Meeting("first"), Meeting("second")], asyncio.Event()
    stop.set()
    await serve(app(*servers), AdminServer("127.0.0.1:0"), stop, drain_s=SOON)
    assert [server.entries[-1] for server in servers] == ["first stops", "second stops"]


async def failing_loop(_: asyncio.Event) -> None:
    raise KeyError("bilge")


async def ending_loop(_: asyncio.Event) -> None:
    return


@pytest.mark.parametrize(("loop", "error"), [(failing_loop, KeyError), (ending_loop, Internal)])
async def test_a_loop_that_ends_before_its_time_drains_the_service_and_is_raised(loop: Loop, error: type[Exception]):
    journal, others = Journal(), list[str]()

    async def other(draining: asyncio.Event) -> None:
        await draining.wait()
        others.append("ended in order")

    async with probes() as (admin, ask):
        with pytest.raises(error):
            async with asyncio.timeout(SOON):
                await serve(app(journal, loops={"other": other, "broken": loop}), admin, asyncio.Event(), drain_s=SOON)
        assert (await ask("/readyz"))[0] == 503
    assert journal.entries == ["server starts", "server serves", "server serves no more", "server stops"]
    assert others == ["ended in order"]


async def test_a_server_that_cannot_start_leaves_none_running():
    first, second = Journal("first"), Journal("second", fails=OSError("taken"))
    admin = AdminServer("127.0.0.1:0")
    with pytest.raises(ExceptionGroup) as caught:
        await serve(app(first, second), admin, asyncio.Event(), drain_s=SOON)
    assert isinstance(unwrap(caught.value), OSError)
    assert first.entries == ["first starts", "first serves no more", "first stops"]
    assert second.entries == []
