"""What a host can do to a container: no room on the disk, no memory, a wrong clock, wrong certificates."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from container_mesh import SERVICES, ContainerMesh
from docker.models.containers import Container
from engine import Beside, said
from fleets import ROOT
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.deployment import Addresses, write_deployment
from plimsoll_testkit.waiting import eventually
from under_load import RUNS, under_way

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("containers")]
_SOON_S = 180.0
_STREAM = "/data/jetstream/jetstream/mesh/streams/PLIMSOLL_ORCHESTRATOR"
_IS_READY = ["python3", "-I", "-S", "/opt/ready.py"]
_HOLDS_MEMORY = """
import os, time
for _ in range(60):  # each smaller than the service, so that the kernel takes the service
    if os.fork() == 0:
        held = bytearray(b"x" * (20 << 20))
        time.sleep(30)
        os._exit(0)
time.sleep(30)
"""
_AN_HOUR_AHEAD = """
from datetime import timedelta
from plimsoll_runtime.clock import SystemClock
true = SystemClock.now
SystemClock.now = lambda self: true(self) + timedelta(hours=1)
"""
_CALLS_AS_GATEWAY = """
import grpc
from pathlib import Path
from plimsoll.memory.v1 import memory_service_pb2 as pb, memory_service_pb2_grpc as rpc
ca, key, certificate = (Path("/run/secrets", name).read_bytes() for name in ("ca.pem", "tls.key", "tls.pem"))
channel = grpc.secure_channel("memory:7000", grpc.ssl_channel_credentials(ca, key, certificate))
try:
    rpc.MemoryServiceStub(channel).Search(pb.SearchRequest(), timeout=10)
except grpc.RpcError as error:
    print("REFUSED", error.code().name)
"""


def exits(container: Container, *command: str) -> int:
    """The exit code of a command in a container."""
    return int(container.exec_run(list(command)).exit_code)


# --- disk --------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def small_postgres(mesh: ContainerMesh) -> AsyncIterator[Container]:
    """A database of its own, provisioned like the mesh's, on a volume of 160 MiB."""
    own: list[str] = mesh.engine.containers("postgres")[0].attrs["Config"]["Env"]
    beside = Beside(
        name="small",
        image=mesh.wanted.variables["PLIMSOLL_POSTGRES_IMAGE"],
        command=["docker-entrypoint.sh", "postgres", "-c", "min_wal_size=32MB", "-c", "max_wal_size=64MB"],
        network=mesh.network,
        mounts=[f"{mesh.place}/secrets/postgres:/run/secrets:ro", f"{ROOT}/deploy/postgres/provision.sql:/provision.sql:ro"],
        environment=[pair for pair in own if pair.startswith(("POSTGRES_", "PGDATA="))],
        tmpfs={"/var/lib/postgresql": "size=160m,uid=999,gid=999,mode=0700"},
    )
    async with mesh.engine.running(beside) as container:
        await eventually(lambda: exits(container, "pg_isready", "-h", "127.0.0.1", "-U", "postgres") == 0, within_s=_SOON_S)
        assert exits(container, "psql", "-q", "-U", "postgres", "-d", "postgres", "-f", "/provision.sql") == 0
        yield container


async def test_a_full_disk_is_told_and_with_room_again_the_service_starts(mesh: ContainerMesh) -> None:
    dsn = (mesh.place / "secrets" / "gateway" / "postgres_dsn").read_text().replace("@postgres:", f"@{mesh.engine.project}-small:")
    settings = {"PLIMSOLL_GATEWAY_POSTGRES_DSN": dsn, "PLIMSOLL_GATEWAY_BOOTSTRAP_KEY_FILE": ""}
    async with small_postgres(mesh) as database:
        assert exits(database, "sh", "-c", "cat /dev/zero >/var/lib/postgresql/ballast") != 0
        async with mesh.engine.running(mesh.another("gateway", settings)) as service:
            await eventually(lambda: said(service).count("service.waiting") > 1, within_s=_SOON_S)
            lines = [line for line in said(service).splitlines() if "service.waiting" in line]
            assert all("DATABASE_FULL" in line and "the database's disk is full" in line for line in lines), lines
            assert "Traceback" not in said(service)
            assert exits(service, *_IS_READY) == 1
            assert exits(database, "rm", "/var/lib/postgresql/ballast") == 0
            await eventually(lambda: exits(service, *_IS_READY) == 0, within_s=_SOON_S)


@asynccontextmanager
async def small_nats(mesh: ContainerMesh) -> AsyncIterator[Container]:
    """In place of the mesh's NATS one like it, on a volume of 64 MiB. Yields a container that holds the volume, whatever NATS does."""
    engine, own = mesh.engine, mesh.engine.containers("nats")[0]
    volume = engine.client.volumes.create(
        f"{engine.project}_small", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=64m,mode=0777"}
    )
    image, mounts = mesh.wanted.variables["PLIMSOLL_NATS_IMAGE"], [f"{volume.name}:/data"]
    files = [f"{mount['Source']}:{mount['Destination']}:ro" for mount in own.attrs["Mounts"] if mount["Destination"] != "/data"]
    beside = Beside(
        name="small-nats",
        image=image,
        command=[*own.attrs["Config"]["Entrypoint"], *own.attrs["Config"]["Cmd"]],
        mounts=[*mounts, *files],
        network=f"{engine.project}_outside",
        options={"restart_policy": {"Name": "unless-stopped"}, "healthcheck": _checked(own)},
    )
    try:
        async with engine.running(Beside(image=image, command=["sleep", "3600"], mounts=mounts)) as holder:
            await engine.stop("nats", grace_s=30)
            async with engine.running(beside) as small:
                engine.client.networks.get(mesh.network).connect(small, aliases=["nats"])
                yield holder
    finally:
        await engine.start("nats")
        volume.remove(force=True)
        await engine.healthy("nats", *SERVICES)


def _checked(container: Container) -> dict[str, object]:
    """The health check of a container, by the names of the engine's client."""
    check = container.attrs["Config"]["Healthcheck"]
    return {name.lower(): check[name] for name in ("Test", "Interval", "Timeout", "Retries")}


async def test_while_the_disk_of_nats_is_full_runs_go_on_and_with_room_again_all_that_happened_is_told(
    mesh: ContainerMesh, client: Client
) -> None:
    [began] = await mesh.query("plimsoll", "select now()::text as at")
    untold = "select position from orchestrator.journal_outbox"
    told = (
        f"select run_id from orchestrator.runs where created_at > '{began['at']}'"
        " and run_id in (select run_id from feedback.operations where kind = 'run')"
    )
    async with small_nats(mesh) as disk:
        await eventually(lambda: exits(disk, "test", "-d", _STREAM) == 0, within_s=_SOON_S)
        assert exits(disk, "sh", "-c", "cat /dev/zero >/data/ballast") != 0
        async with under_way(mesh, client, "no-room"):
            await eventually(lambda: "is its disk full? Its own log tells" in mesh.engine.logs("worker"), within_s=_SOON_S)
        assert await mesh.query("plimsoll", untold)
        assert exits(disk, "rm", "/data/ballast") == 0

        async def all_told() -> bool:
            return not await mesh.query("plimsoll", untold) and len(await mesh.query("plimsoll", told)) == RUNS

        await eventually(all_told, within_s=_SOON_S)


# --- memory ------------------------------------------------------------------------------------------------------------------


async def test_a_worker_that_the_kernel_kills_for_memory_comes_back_and_runs_go_on(mesh: ContainerMesh, client: Client) -> None:
    worker = mesh.engine.containers("worker")[0]
    before = int(worker.attrs["RestartCount"])
    async with under_way(mesh, client, "no-memory"):
        await mesh.engine.run("worker", "python3", "-I", "-S", "-c", _HOLDS_MEMORY)

    def restarted() -> bool:
        worker.reload()
        return int(worker.attrs["RestartCount"]) > before

    await eventually(restarted, within_s=_SOON_S)
    await mesh.engine.healthy("worker")


# --- clock -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def an_hour_ahead(tmp_path: Path) -> str:
    """A folder from which Python takes another clock for our services."""
    (tmp_path / "sitecustomize.py").write_text(_AN_HOUR_AHEAD)
    tmp_path.chmod(0o755)
    return str(tmp_path)


async def test_a_worker_whose_clock_is_an_hour_ahead_works_as_the_others_do(
    mesh: ContainerMesh, client: Client, an_hour_ahead: str
) -> None:
    wrong = mesh.another("worker", {"PYTHONPATH": "/ahead"}, mounts=[f"{an_hour_ahead}:/ahead:ro"])
    others = mesh.engine.containers("worker")
    async with mesh.engine.running(wrong) as worker:
        await eventually(lambda: exits(worker, *_IS_READY) == 0, within_s=_SOON_S)
        try:
            async with under_way(mesh, client, "wrong-clock"):
                for other in others:
                    other.pause()
        finally:
            for other in others:
                other.unpause()
    drift = "select extract(epoch from max(at) - now())::int as ahead from orchestrator.journal"
    assert all(int(str(row["ahead"])) <= 1 for row in await mesh.query("plimsoll", drift))
    await mesh.engine.healthy("worker")


# --- certificates ------------------------------------------------------------------------------------------------------------


def mixed(place: Path, own: Path, strange: Path, *replaced: str) -> Path:
    """The mesh's own secrets of memory, with some files of somebody else's mesh."""
    shutil.copytree(own / "memory", place / "memory")
    for name in replaced:
        (place / "memory" / name).unlink()
        shutil.copy(strange / "memory" / name, place / "memory" / name)
    return place


EXPIRED = (timedelta(days=-800), ("ca.pem", "tls.pem", "tls.key"), "has expired")
OF_ANOTHER_AUTHORITY = (timedelta(), ("tls.pem", "tls.key"), "does not hold against")


@pytest.mark.parametrize(("made", "replaced", "said_so"), [EXPIRED, OF_ANOTHER_AUTHORITY], ids=["expired", "of another authority"])
async def test_a_certificate_that_is_not_in_order_ends_the_service_with_one_line(
    mesh: ContainerMesh, tmp_path: Path, made: timedelta, replaced: Sequence[str], said_so: str
) -> None:
    write_deployment(tmp_path / "strange", Addresses(), datetime.now(UTC) + made)
    secrets = mixed(tmp_path / "mixed", mesh.place / "secrets", tmp_path / "strange", *replaced)
    ended = await mesh.engine.once(mesh.another("memory", {}, secrets=secrets))
    assert ended.code == 2, ended.text
    [line] = ended.text.splitlines()
    assert "TLS_CERTIFICATE" in line
    assert said_so in line


async def test_a_caller_of_another_authority_is_refused(mesh: ContainerMesh, tmp_path: Path) -> None:
    write_deployment(tmp_path / "strange", Addresses(), datetime.now(UTC))
    secrets = tmp_path / "strange" / "gateway"
    (secrets / "ca.pem").unlink()
    shutil.copy(mesh.place / "secrets" / "gateway" / "ca.pem", secrets / "ca.pem")  # it trusts the mesh; the mesh does not trust it
    command = ["python3", "-c", _CALLS_AS_GATEWAY]
    caller = Beside(image=mesh.image("memory"), command=command, network=mesh.network, mounts=[f"{secrets}:/run/secrets:ro"])
    ended = await mesh.engine.once(caller)
    assert ended.text.splitlines()[-1:] == ["REFUSED UNAVAILABLE"]
