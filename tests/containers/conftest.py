"""One mesh in containers for all tests of this folder: images built once, started once, seen from outside.

PLIMSOLL_FLEET=compose starts it with `docker compose` in place of testcontainers; PLIMSOLL_TAG names the images' tag, so that two
runs on one engine do not meet.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from plimsoll_client import connect
from plimsoll_client.bundles import apply, read_bundles
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.deployment import Addresses, write_deployment

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # `doors` and our own are found by name, whatever the import mode
sys.path.insert(0, str(Path(__file__).parent))
from container_mesh import ContainerMesh
from doors import Door
from engine import Engine, answers
from fleets import ROOT, ComposeFleet, Fleet, TestcontainersFleet, Wanted

_BUILD_WITHIN_S = 900
_AGENTS = {"support", "documents", "pipeline", "canary", "effects"}
_ENGINE_ANSWERS = answers()
collect_ignore_glob = [] if _ENGINE_ANSWERS else ["test_*.py"]


def pytest_report_header() -> str:
    if _ENGINE_ANSWERS:
        return f"containers: a Docker engine answers; the mesh is started by {os.environ.get('PLIMSOLL_FLEET', 'testcontainers')}"
    return "containers: no Docker engine answers here, so the tests of tests/containers are not collected"


@pytest.fixture(scope="session")
def image_variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The images as they are now, built; their names as variables of the compose file."""
    chosen = tmp_path_factory.mktemp("images") / "images.env"
    tag = os.environ.get("PLIMSOLL_TAG", "test")
    environment = {**os.environ, "PLIMSOLL_TAG": tag, "PLIMSOLL_ENVIRONMENT_FILE": str(chosen)}
    words = [str(ROOT / "deploy" / "images" / "build"), "all"]
    built = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=_BUILD_WITHIN_S, check=False)
    assert built.returncode == 0, built.stderr[-4000:]
    return dict(line.split("=", 1) for line in chosen.read_text().splitlines() if not line.startswith("#"))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Secrets, agents and the providers' file, as they lie in deploy/ otherwise."""
    place = tmp_path_factory.mktemp("deploy")
    for bundle in [*(ROOT / "deploy" / "agents").iterdir(), *(ROOT / "tests" / "e2e" / "agents").iterdir()]:
        if bundle.name in _AGENTS:
            shutil.copytree(bundle, place / "agents" / bundle.name)
    (place / "providers.env").write_text("")
    write_deployment(place / "secrets", Addresses(), datetime.now(UTC))
    return place


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return ComposeFleet() if os.environ.get("PLIMSOLL_FLEET") == "compose" else TestcontainersFleet()


@pytest.fixture(scope="session")
def engine(fleet: Fleet) -> Iterator[Engine]:
    engine = Engine(f"plimsoll-{type(fleet).__name__.lower()}")
    yield engine
    engine.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(image_variables: dict[str, str], place: Path, fleet: Fleet, engine: Engine) -> AsyncIterator[ContainerMesh]:
    variables = image_variables | {
        "PLIMSOLL_SECRETS": str(place / "secrets"),
        "PLIMSOLL_AGENTS": str(place / "agents"),
        "PLIMSOLL_PROVIDERS": str(place / "providers.env"),
        "PLIMSOLL_PROTECTED_LABELS": "none",
        "PLIMSOLL_HTTP_PORT": "0",
        "PLIMSOLL_GRPC_PORT": "0",
    }
    running = ContainerMesh(fleet, engine, Wanted(project=engine.project, variables=variables, scale={"worker": 3}), place)
    try:
        await running.up()
        async with connect(address=running.door.address, api_key=running.door.key) as client:
            for bundle in read_bundles(place / "agents"):
                await apply(client, bundle)
        yield running
    finally:
        await running.down()


@pytest.fixture
def door(mesh: ContainerMesh) -> Door:
    return mesh.door


@pytest_asyncio.fixture(loop_scope="session")
async def http(door: Door) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(door.url, headers={"Authorization": f"Bearer {door.key}"}) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def client(door: Door) -> AsyncIterator[Client]:
    async with connect(address=door.address, api_key=door.key) as opened:
        yield opened
