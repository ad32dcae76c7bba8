"""One whole mesh for all end-to-end tests of a run: real servers, every service a process of its own."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted

sys.path.insert(0, str(Path(__file__).parent))  # `doors` is found by name, whatever the import mode
from doors import Door

ROOT = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    root = tmp_path_factory.mktemp("deploy")
    agents = root / "agents"
    (root / "tools").mkdir()
    shutil.copytree(ROOT / "deploy" / "policies", root / "policies")
    for bundle in [*(ROOT / "deploy" / "agents").iterdir(), *(ROOT / "tests" / "e2e" / "agents").iterdir()]:
        if (bundle / "agent.yaml").exists():
            shutil.copytree(bundle, agents / bundle.name)
    async with Mesh(Wanted(data=tmp_path_factory.mktemp("mesh"), agents=agents)) as running:
        yield running


@pytest.fixture(scope="session")
def door(mesh: Mesh) -> Door:
    return Door(mesh.http_url, mesh.grpc_address, mesh.api_key, mesh.wanted.data)


@pytest_asyncio.fixture(loop_scope="session")
async def http(door: Door) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(door.url, headers={"Authorization": f"Bearer {door.key}"}) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def client(door: Door) -> AsyncIterator[Client]:
    async with connect(address=door.address, api_key=door.key) as opened:
        yield opened
