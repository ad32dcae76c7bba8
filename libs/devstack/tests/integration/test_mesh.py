"""The real mesh: all servers and all services, ready, restarted after a crash, recovered after a killed supervisor."""

import os
import signal
import stat
from pathlib import Path

import psutil
import pytest
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.probe import probe_ready
from plimsoll_devstack.state import PartPhase, Phase
from plimsoll_testkit import eventually

pytestmark = pytest.mark.e2e

SERVICES = {"gateway", "orchestrator-api", "orchestrator-worker-1", "tool-dispatcher", "model-router", "memory", "feedback"}


def _mesh(data: Path) -> Mesh:
    return Mesh(Wanted(data=data, environ={"PATH": os.defpath}))


async def _all_answer(mesh: Mesh) -> None:
    """Every service says that it is ready, and so are its dependencies."""
    for part in mesh.state().parts:
        if part.name in SERVICES:
            assert part.process is not None
            listening = {each.laddr.port for each in psutil.Process(part.process.pid).net_connections("tcp") if each.status == "LISTEN"}
            answers = [port for port in listening if await _answers(port)]
            assert answers, part.name


async def _answers(port: int) -> bool:
    try:
        await probe_ready(port)
    except OSError:
        return False
    return True


@pytest.mark.crash
async def test_the_mesh_survives_the_loss_of_any_part_and_of_its_supervisor(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    await mesh.start(detached=True)
    first = mesh.pids
    assert first.keys() == SERVICES | {"postgres", "nats", "redis"}
    assert stat.S_IMODE(mesh.files.api_key.stat().st_mode) == 0o600
    key, address = mesh.api_key, mesh.http_url
    await _all_answer(mesh)

    for part in ("postgres", "nats", "gateway"):
        await mesh.kill(part)
        await mesh.ready(part)
    await eventually(lambda: all(part.phase is PartPhase.READY for part in mesh.state().parts))
    await eventually(lambda: _all_answer_again(mesh))

    supervisor = mesh.state().supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    async with _mesh(tmp_path / "data") as again:
        assert (again.api_key, again.http_url) == (key, address)
        assert again.state().phase is Phase.READY
        await _all_answer(again)
        left = again.pids
    assert not any(psutil.pid_exists(pid) for pid in [*first.values(), *left.values()])


async def _all_answer_again(mesh: Mesh) -> bool:
    await _all_answer(mesh)
    return True
