"""Failover to a second provider, and what the images and the network let nobody do."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from container_mesh import SERVICES, ContainerMesh
from doors import ended, submit
from engine import SERVICE_LABEL, Beside
from fleets import ROOT
from plimsoll_testkit.upstream import ANSWER

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("containers")]
_PROVIDERS = """
PLIMSOLL_MODEL_ROUTER_OPENAI_BASE_URL=http://upstream:9000/v1
PLIMSOLL_MODEL_ROUTER_OPENAI_API_KEY=sk-first
PLIMSOLL_MODEL_ROUTER_OPENAI_MODEL=unavailable
PLIMSOLL_MODEL_ROUTER_ANTHROPIC_BASE_URL=http://upstream:9000
PLIMSOLL_MODEL_ROUTER_ANTHROPIC_API_KEY=sk-second
PLIMSOLL_MODEL_ROUTER_ANTHROPIC_MODEL=fine
PLIMSOLL_MODEL_ROUTER_ROUTES=*=openai|anthropic
"""
_STRANGER = """
import asyncio, asyncpg, grpc, nats, redis
from plimsoll.memory.v1 import memory_service_pb2 as pb, memory_service_pb2_grpc as rpc

async def over_nats():
    client = await nats.connect("nats://memory:guess@nats:4222", allow_reconnect=False, connect_timeout=5, max_reconnect_attempts=0)
    await client.close()

doors = {
    "grpc": lambda: rpc.MemoryServiceStub(grpc.insecure_channel("memory:7000")).Search(pb.SearchRequest(), timeout=5),
    "postgres": lambda: asyncio.run(asyncpg.connect("postgresql://memory:guess@postgres/plimsoll", timeout=5)),
    "redis": lambda: redis.Redis(host="redis").get("x"),
    "nats": lambda: asyncio.run(over_nats()),
}
for name, enter in doors.items():
    try:
        enter()
    except Exception as error:
        print("SHUT", name, type(error).__name__)
    else:
        print("OPEN", name)
"""


@pytest_asyncio.fixture(loop_scope="session")
async def two_providers(mesh: ContainerMesh) -> AsyncIterator[None]:
    """A scripted upstream on the mesh's network: its first model is away, its second answers."""
    upstream = mesh.engine.client.containers.create(
        mesh.image("model-router"),
        ["-m", "plimsoll_testkit.upstream", "9000", "0.0.0.0"],
        entrypoint="python3",
        environment={"PYTHONPATH": "/testkit"},
        volumes=[f"{ROOT}/libs/testkit/src:/testkit:ro"],
        network=f"{mesh.engine.project}_outside",
    )
    mesh.engine.client.networks.get(f"{mesh.engine.project}_mesh").connect(upstream, aliases=["upstream"])
    upstream.start()
    providers = mesh.place / "providers.env"
    providers.write_text(_PROVIDERS)
    await mesh.change({})
    yield
    providers.write_text("")
    await mesh.change({})
    upstream.remove(force=True)


@pytest.mark.usefixtures("two_providers")
async def test_when_the_first_provider_is_away_the_second_answers(mesh: ContainerMesh, http: aiohttp.ClientSession) -> None:
    run = await ended(http, await submit(http, "canary", {"canary": "canary-failover"}))
    assert run["status"] == "RUN_STATUS_SUCCEEDED", (run.get("failure"), mesh.engine.logs("model-router")[-3000:])
    assert run["output"]["said"] == ANSWER
    said = mesh.engine.logs("model-router")
    assert "sk-first" not in said
    assert "sk-second" not in said


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_has_metrics_of_its_own(mesh: ContainerMesh, service: str) -> None:
    for text in await mesh.metrics(service):
        assert "process_resident_memory_bytes" in text
        assert "plimsoll_" in text


async def test_only_the_gateways_two_ports_are_open(mesh: ContainerMesh) -> None:
    published = {one.labels[SERVICE_LABEL]: {port for port, where in one.ports.items() if where} for one in mesh.engine.containers()}
    assert {service: ports for service, ports in published.items() if ports} == {"gateway": {"8080/tcp", "8081/tcp"}}


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_is_root_and_nobody_can_change_the_program(mesh: ContainerMesh, service: str) -> None:
    assert (await mesh.engine.run(service, "id", "-u")).text.strip() == "10001"
    assert (await mesh.engine.run(service, "sh", "-c", "echo x >/opt/service/x")).code != 0
    assert (await mesh.engine.run(service, "sh", "-c", "find /run/secrets -name ca.key")).text == ""


async def test_a_stranger_on_the_network_gets_in_nowhere(mesh: ContainerMesh) -> None:
    said = await mesh.engine.once(Beside(image=mesh.image("memory"), command=["python3", "-c", _STRANGER], network=mesh.network))
    assert said.code == 0, said.text
    outcomes = {tuple(line.split()[:2]) for line in said.text.splitlines() if line.startswith(("SHUT ", "OPEN "))}
    assert outcomes == {("SHUT", door) for door in ("grpc", "postgres", "redis", "nats")}


@pytest.mark.parametrize("service", ["gateway", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback"])
async def test_a_service_without_settings_names_every_one_that_is_missing(mesh: ContainerMesh, service: str) -> None:
    name = service.replace("-", "_")
    said = await mesh.engine.once(Beside(image=mesh.image(service), command=["python3", "-m", f"plimsoll_{name}"]))
    assert said.code == 2
    for setting in ("POSTGRES_DSN", "TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"):
        assert f"PLIMSOLL_{name.upper()}_{setting}: is not set" in said.text
    assert "Traceback" not in said.text


async def test_with_a_wrong_password_a_service_says_so_in_a_line_and_keeps_trying(mesh: ContainerMesh) -> None:
    wrong = mesh.another("memory", {"PLIMSOLL_MEMORY_POSTGRES_DSN": "postgresql://memory:wrong@postgres:5432/plimsoll"})
    said = await mesh.engine.once(wrong, enough=lambda text: text.count("service.waiting") > 1)
    lines = [line for line in said.text.splitlines() if "service.waiting" in line]
    assert len(lines) > 1, said.text
    assert all("DATABASE_REFUSED" in line and "the database does not know this role, password or database" in line for line in lines)
    assert "Traceback" not in said.text
    assert "wrong" not in said.text
