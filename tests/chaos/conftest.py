"""Options of the chaos suite, and its mesh: every service a process of its own, two workers, faults on demand."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from plimsoll_client.bundles import apply, read_bundles
from plimsoll_client.connecting import connected
from plimsoll_client.location import endpoint
from plimsoll_devstack.audit.tenant import tenant_key
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted

sys.path.insert(0, str(Path(__file__).resolve().parent))  # its modules are found by name, whatever the import mode
from workload import NEIGHBOUR, OWNER, Tenants

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parents[1] / "deploy"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seconds", type=float, default=25.0, help="how long trouble lasts")
    parser.addoption("--chaos-runs", type=int, default=150, help="runs at the most")
    parser.addoption("--chaos-seed", type=int, default=1)
    parser.addoption("--chaos-only", default="", help="one kind of trouble alone: services, workers, servers, pauses or wires")
    parser.addoption("--soak-seconds", type=float, default=0.0, help="soak for so long; 0 leaves the soak out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The soak is a run of its own, asked for by its length."""
    wanted = bool(config.getoption("--soak-seconds"))
    left_out = [item for item in items if item.path.parent == HERE and (item.get_closest_marker("soak") is not None) != wanted]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chaotic(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    root = tmp_path_factory.mktemp("deploy")
    (root / "tools").mkdir()
    shutil.copytree(DEPLOY / "policies", root / "policies")
    for bundle in [*(DEPLOY / "agents").iterdir(), *(HERE / "agents").iterdir()]:
        if (bundle / "agent.yaml").exists():
            shutil.copytree(bundle, root / "agents" / bundle.name)
    async with Mesh(Wanted(data=tmp_path_factory.mktemp("mesh"), agents=root / "agents", workers=2, faults=True)) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def keys(chaotic: Mesh) -> Tenants:
    """Of the owner of the mesh, and of a neighbour, who has one agent."""
    key = await tenant_key(chaotic, NEIGHBOUR)
    async with connected(endpoint(chaotic.grpc_address, key)) as target:
        [bundle] = read_bundles(HERE / "agents" / "outside")
        await apply(target, bundle)
    return {OWNER: chaotic.api_key, NEIGHBOUR: key}
