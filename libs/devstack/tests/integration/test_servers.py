"""The embedded servers: real, private to each service, durable, and runnable by whoever starts them."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
import redis.asyncio
import redis.exceptions
from nats.aio.client import Client
from plimsoll_devstack.account import unprivileged_account
from plimsoll_devstack.errors import OtherVersion, StartFailed
from plimsoll_devstack.processes import launch_line
from plimsoll_devstack.servers import Servers, configure, recorded, running
from plimsoll_devstack.servers.postgres import SUPERUSER
from plimsoll_runtime.errors import unwrap
from plimsoll_testkit import eventually


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Below a folder that only its owner may enter, as a home directory is."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "data"


@pytest.fixture
def servers(data: Path) -> Servers:
    return configure(data, guests=("guest",))


@asynccontextmanager
async def _nats(servers: Servers, user: str) -> AsyncIterator[Client]:
    async def ignore(_: Exception) -> None:
        """Refusals and the server's end are what these tests are about."""

    client = await nats.connect(servers.nats.url(user), allow_reconnect=False, error_cb=ignore)
    try:
        yield client
    finally:
        await client.close()


async def test_the_first_start_and_the_next_keep_data_and_addresses(servers: Servers, data: Path) -> None:
    async with running(servers):
        connection = await asyncpg.connect(servers.postgres.dsn("memory"))
        await connection.execute("create table kept (e vector(2)); insert into kept values ('[1,2]')")
        await connection.close()
        async with _nats(servers, "operator") as client:
            await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
            await client.jetstream().publish("kept", b"1")
    again = configure(data)
    assert (again.postgres.dsn("memory"), again.nats.url("memory")) == (servers.postgres.dsn("memory"), servers.nats.url("memory"))
    async with running(again):
        assert recorded(data).postgres.address == again.postgres.address
        connection = await asyncpg.connect(again.postgres.dsn("memory"))
        assert await connection.fetchval("select e::text from kept") == "[1,2]"
        await connection.close()
        async with _nats(again, "operator") as client:
            assert (await client.jetstream().stream_info("KEPT")).state.messages == 1


async def test_a_service_sees_its_own_schema_only(servers: Servers) -> None:
    async with running(servers):
        own = await asyncpg.connect(servers.postgres.dsn("orchestrator"))
        await own.execute("create table truth (n int)")
        assert await own.fetchval("select table_schema from information_schema.tables where table_name = 'truth'") == "orchestrator"
        for statement in ("create table public.t (n int)", "create schema mine", "create table memory.t (n int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await own.execute(statement)
        await own.close()
        other = await asyncpg.connect(servers.postgres.dsn("feedback"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await other.fetch("select * from orchestrator.truth")
        await other.close()


async def test_the_examples_have_a_database_of_their_own(servers: Servers) -> None:
    async with running(servers):
        connection = await asyncpg.connect(servers.postgres.dsn("examples", database="examples"))
        await connection.execute("create schema if not exists accounts; create table if not exists accounts.customers (n int)")
        await connection.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(servers.postgres.dsn("examples"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(servers.postgres.dsn("memory", database="examples"))


async def test_the_tool_that_queries_has_a_role_that_reads_one_database_and_can_do_nothing_else(servers: Servers) -> None:
    async with running(servers):
        owner = await asyncpg.connect(servers.postgres.dsn("examples", database="examples"))
        await owner.execute("create schema shop; create table shop.orders (n int); insert into shop.orders values (1)")
        await owner.close()
        reader = await asyncpg.connect(servers.postgres.dsn("examples_reader", database="examples"))
        assert await reader.fetchval("select n from shop.orders") == 1
        await reader.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("delete from shop.orders")
        await reader.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(servers.postgres.dsn("examples_reader"))


async def test_no_password_no_entry(servers: Servers) -> None:
    async with running(servers):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(servers.postgres.dsn(SUPERUSER).replace(servers.postgres.passwords[SUPERUSER], "wrong"))
        async with redis.asyncio.Redis.from_url(f"redis://{servers.redis.address}") as client:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await client.ping()
        reader, writer = await asyncio.open_connection("127.0.0.1", servers.nats.port)
        writer.write(b'CONNECT {"verbose": false}\r\nPING\r\n')
        async with asyncio.timeout(5):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert b"Authorization Violation" in said


async def test_a_service_speaks_in_its_own_name_only(servers: Servers) -> None:
    async with running(servers), _nats(servers, "memory") as memory:
        streams = memory.jetstream(timeout=0.5)
        await streams.add_stream(name="PLIMSOLL_MEMORY", subjects=["plimsoll.v1.memory.>"])
        assert (await streams.publish("plimsoll.v1.memory.document.added", b"{}")).seq == 1
        with pytest.raises(TimeoutError):
            await streams.publish("plimsoll.v1.orchestrator.run.finished", b"{}")
        with pytest.raises(TimeoutError):
            await streams.delete_stream("PLIMSOLL_MEMORY")


async def test_feedback_consumes_what_others_say(servers: Servers) -> None:
    async with running(servers), _nats(servers, "model_router") as router, _nats(servers, "feedback") as feedback:
        await router.jetstream().add_stream(name="PLIMSOLL_MODEL_ROUTER", subjects=["plimsoll.v1.model_router.>"])
        await router.jetstream().publish("plimsoll.v1.model_router.call.finished", b"heard")
        pulling = await feedback.jetstream().pull_subscribe("plimsoll.v1.model_router.>", durable="f", stream="PLIMSOLL_MODEL_ROUTER")
        message = (await pulling.fetch(1, timeout=5))[0]
        await message.ack_sync(timeout=5)
        assert message.data == b"heard"


async def test_a_guest_shares_no_stream_with_the_mesh(servers: Servers) -> None:
    async with running(servers), _nats(servers, "guest") as guest, _nats(servers, "operator") as operator:
        await guest.jetstream().add_stream(name="PLIMSOLL_ORCHESTRATOR", subjects=["plimsoll.v1.orchestrator.>"])
        assert "PLIMSOLL_ORCHESTRATOR" not in {info.config.name for info in await operator.jetstream().streams_info()}


async def test_a_service_reaches_its_own_keys_only(servers: Servers) -> None:
    async with running(servers), redis.asyncio.Redis.from_url(servers.redis.url("gateway")) as client:
        await client.set("plimsoll:gateway:limit", "1")
        for forbidden in (client.set("plimsoll:memory:x", "1"), client.flushall(), client.config_get("*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await forbidden


async def test_a_postgres_that_was_killed_starts_again_with_what_was_committed(servers: Servers) -> None:
    async with running(servers):
        connection = await asyncpg.connect(servers.postgres.dsn("gateway"))
        await connection.execute("create table committed (n int); insert into committed values (1)")
        pid = int((servers.postgres.cluster / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        connection.terminate()
        await eventually(lambda: not _runs(pid))
    async with running(servers):
        connection = await asyncpg.connect(servers.postgres.dsn("gateway"))
        assert await connection.fetchval("select n from committed") == 1
        await connection.close()


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_stale_pid_file_that_names_a_stranger_ends_nobody_and_stops_nothing(servers: Servers) -> None:
    async with running(servers):
        whole = (servers.postgres.cluster / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen(  # noqa: ASYNC220 - instant
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    try:
        (servers.postgres.cluster / "postmaster.pid").write_text("\n".join([str(stranger.pid), *whole[1:]]) + "\n")
        async with running(servers):
            assert stranger.poll() is None
    finally:
        stranger.communicate(timeout=5)


async def test_a_taken_port_moves_the_server(servers: Servers, data: Path) -> None:
    async with running(servers):
        pass
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", servers.nats.port))
        taker.listen()
        moved = configure(data)
        assert moved.nats.port != servers.nats.port
        async with running(moved), _nats(moved, "operator") as client:
            await client.flush(timeout=5)


async def test_a_server_that_cannot_start_says_why_and_leaves_nothing(servers: Servers) -> None:
    async with running(servers):
        pass
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", servers.redis.port))
        taker.listen()
        with pytest.raises(ExceptionGroup) as failed:
            async with running(servers):
                pass
    assert isinstance(unwrap(failed.value), StartFailed)
    assert "redis" in str(unwrap(failed.value))
    assert not (servers.postgres.cluster / "postmaster.pid").exists()


async def test_lost_credentials_are_named(servers: Servers, data: Path) -> None:
    async with running(servers):
        pass
    kept = (data / "credentials.json").read_bytes()
    (data / "credentials.json").unlink()
    try:
        with pytest.raises(ExceptionGroup) as failed:
            async with running(configure(data)):
                pass
        assert "credentials.json" in str(unwrap(failed.value))
    finally:
        (data / "credentials.json").write_bytes(kept)


async def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "data" / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with running(configure(tmp_path / "data", durable=False)):
        assert not half.exists()


async def test_a_directory_that_is_no_whole_database_is_refused_and_untouched(tmp_path: Path) -> None:
    cluster = tmp_path / "data" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    with pytest.raises(ExceptionGroup) as failed:
        async with running(configure(tmp_path / "data")):
            pass
    assert isinstance(unwrap(failed.value), OtherVersion)
    assert "PG_VERSION" in str(unwrap(failed.value))
    assert not list(cluster.iterdir())


async def test_another_postgres_major_is_refused_and_untouched(tmp_path: Path) -> None:
    cluster = tmp_path / "data" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(ExceptionGroup) as failed:
        async with running(configure(tmp_path / "data")):
            pass
    assert isinstance(unwrap(failed.value), OtherVersion)
    assert {path.name for path in cluster.iterdir()} == {"PG_VERSION"}


_START = """
import asyncio, os, sys
from pathlib import Path
from plimsoll_devstack.servers import configure, running

async def main():
    async with running(configure(Path(sys.argv[1]))):
        print(os.geteuid(), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("starts", [1, 2])
def test_an_ordinary_user_runs_the_servers(starts: int) -> None:
    """Root becomes an ordinary user for this; an ordinary user is one already."""
    account = unprivileged_account(Path(sys.executable), Path(sys.executable).resolve(), Path(__file__))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        for _ in range(starts):
            command = launch_line([sys.executable, "-c", _START, f"{folder}/data"], die_with=signal.SIGTERM, account=account)
            finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert finished.returncode == 0, finished.stderr
            assert int(finished.stdout) == (account.uid if account else os.geteuid()) != 0


async def test_postgres_never_runs_as_root() -> None:
    account = unprivileged_account()
    with tempfile.TemporaryDirectory() as folder:
        servers = configure(Path(folder) / "data", durable=False)
        for each in (folder, f"{folder}/data"):
            os.chmod(each, 0o711)
        async with running(servers):
            pid = int((servers.postgres.cluster / "postmaster.pid").read_text().splitlines()[0])
            assert psutil.Process(pid).uids().effective == (account.uid if account else os.geteuid()) != 0
            assert stat.S_IMODE(servers.postgres.cluster.stat().st_mode) == 0o700


async def test_two_sets_run_side_by_side(tmp_path: Path, servers: Servers) -> None:
    second = configure(tmp_path / "second", durable=False)
    async with asyncio.TaskGroup() as group:
        both = asyncio.Barrier(2)
        for each in (servers, second):
            group.create_task(_meet(each, both))


async def _meet(servers: Servers, both: asyncio.Barrier) -> None:
    async with running(servers):
        async with asyncio.timeout(30):
            await both.wait()
