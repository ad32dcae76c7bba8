"""A mesh is started in order, kept alive, stopped in order, and recovers from everything that is killed; shown with stand-ins."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from plimsoll_devstack.errors import Busy, NoSuchPart, NotRunning, OtherVersion, StartFailed
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.processes import ProcessId, find
from plimsoll_devstack.state import MeshState, PartPhase, PartState, Phase
from plimsoll_testkit import eventually

STANDINS = Path(__file__).parent.parent / "standins" / "supervise.py"


def _mesh(data: Path, *, behaviour: str = "", http_port: int = 0) -> Mesh:
    environ = dict(os.environ) | {"STANDIN_BEHAVIOUR": behaviour}
    return Mesh(Wanted(data=data, http_port=http_port, environ=environ), supervisor=(str(STANDINS),))


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with _mesh(tmp_path / "data") as running:
        yield running


def _journal(mesh: Mesh) -> list[str]:
    return (mesh.files.data / "journal").read_text().splitlines()


def _alive(pids: dict[str, int]) -> list[int]:
    return [pid for pid in pids.values() if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def _supervisor(mesh: Mesh) -> int:
    supervisor = mesh.state().supervisor
    assert supervisor is not None
    return supervisor.pid


async def test_servers_start_before_services_and_stop_after_them(mesh: Mesh) -> None:
    assert mesh.state().phase is Phase.READY
    assert {part.phase for part in mesh.state().parts} == {PartPhase.READY}
    await mesh.stop()
    started, stopped = _journal(mesh)[:5], _journal(mesh)[5:]
    assert set(started[:2]) == {"started server-a", "started server-b"}
    assert stopped[:3] == ["stopped gateway", "stopped orchestrator-api", "stopped memory"]
    assert set(stopped[3:]) == {"stopped server-a", "stopped server-b"}
    assert mesh.state().phase is Phase.STOPPED
    assert mesh.pids == {}


async def test_a_crashed_part_is_brought_back_and_the_crash_is_seen(mesh: Mesh) -> None:
    before = mesh.pids
    await mesh.kill("memory")
    await mesh.ready("memory")
    after = mesh.state().part("memory")
    assert after is not None
    assert after.restarts == 1
    assert "signal 9" in after.problem
    assert mesh.pids["memory"] != before["memory"]
    assert {name: pid for name, pid in mesh.pids.items() if name != "memory"} == {n: p for n, p in before.items() if n != "memory"}
    assert "mesh.part_ended" in mesh.files.log("supervisor").read_text()


async def test_a_part_that_runs_and_cannot_serve_is_started_anew(mesh: Mesh) -> None:
    before = mesh.pids["server-a"]
    (mesh.files.data / "sick-server-a").write_text(str(before))
    await eventually(lambda: mesh.pids.get("server-a", before) != before)
    await mesh.ready("server-a")
    after = mesh.state().part("server-a")
    assert after is not None
    assert (after.restarts, after.problem) == (1, "it cannot serve")


async def test_a_state_that_cannot_be_written_does_not_end_the_mesh(mesh: Mesh) -> None:
    before = mesh.pids
    fresh = mesh.files.state.with_name(f".{mesh.files.state.name}.{_supervisor(mesh)}")
    fresh.symlink_to(mesh.files.data / "nowhere" / "file")  # the next write fails, as on a full disk
    await mesh.kill("memory")
    await mesh.ready("memory")
    assert mesh.pids.keys() == before.keys()
    assert {name for name, pid in mesh.pids.items() if pid != before[name]} == {"memory"}
    assert "mesh.not_recorded" in mesh.files.log("supervisor").read_text()


async def test_a_part_that_keeps_crashing_is_counted_and_kept_at(mesh: Mesh) -> None:
    for _ in range(3):
        await mesh.kill("gateway")
        await mesh.ready("gateway")
    after = mesh.state().part("gateway")
    assert after is not None
    assert after.restarts == 3


async def test_a_restart_on_request_ends_when_the_part_is_ready_again(mesh: Mesh) -> None:
    before = mesh.pids["memory"]
    await mesh.restart("memory")
    assert mesh.pids["memory"] != before
    assert "stopped memory" in _journal(mesh)


async def test_a_part_may_be_paused_and_continued(mesh: Mesh) -> None:
    mesh.signal("memory", signal.SIGSTOP)
    await eventually(lambda: psutil.Process(mesh.pids["memory"]).status() == psutil.STATUS_STOPPED)
    mesh.signal("memory", signal.SIGCONT)
    await eventually(lambda: psutil.Process(mesh.pids["memory"]).status() != psutil.STATUS_STOPPED)


async def test_an_unknown_part_is_named_with_the_known_ones(mesh: Mesh) -> None:
    with pytest.raises(NoSuchPart) as refused:
        await mesh.kill("memry")
    assert "orchestrator-api" in refused.value.remedy


async def test_a_second_start_is_refused_while_the_first_runs(mesh: Mesh) -> None:
    with pytest.raises(Busy, match="already runs"):
        await _mesh(mesh.files.data).start()
    assert mesh.state().phase is Phase.READY


async def test_of_two_starts_at_once_one_wins(tmp_path: Path) -> None:
    data = tmp_path / "data"
    holder = _mesh(data)
    with holder.files.locked(), pytest.raises(StartFailed, match="another `plimsoll up`"):
        await _mesh(data).start()
    assert holder.files.read() is None


async def test_two_meshes_run_side_by_side(mesh: Mesh, tmp_path: Path) -> None:
    async with _mesh(tmp_path / "other") as other:
        assert set(other.pids.values()).isdisjoint(mesh.pids.values())
        assert other.http_url != mesh.http_url


@pytest.mark.crash
async def test_a_killed_supervisor_leaves_nothing_that_blocks_the_next_start(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    await mesh.start(detached=True)
    left, address = mesh.pids, mesh.http_url
    os.kill(_supervisor(mesh), signal.SIGKILL)
    async with _mesh(tmp_path / "data") as again:
        assert _alive(left) == []
        assert again.http_url == address
        assert set(again.pids.values()).isdisjoint(left.values())


@pytest.mark.crash
async def test_the_parts_of_a_killed_supervisor_can_be_stopped_and_on_linux_end_by_themselves(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    await mesh.start(detached=True)
    left = mesh.pids
    os.kill(_supervisor(mesh), signal.SIGKILL)
    if sys.platform == "linux":
        await eventually(lambda: _alive(left) == [])
        with pytest.raises(NotRunning):
            await mesh.stop()
    else:
        await mesh.stop()
    assert _alive(left) == []


async def test_what_outlived_a_supervisor_is_ended_even_when_it_does_not_listen(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    mesh.files.data.mkdir()
    with _survivor() as survivor:
        mesh.files.write(_left_behind(survivor.pid, psutil.Process(survivor.pid).create_time()))
        async with mesh:
            assert survivor.wait(timeout=5) == -signal.SIGKILL
            assert "mesh.leftovers_ended" in mesh.files.log("supervisor").read_text()


async def test_down_ends_what_outlived_a_supervisor(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    mesh.files.data.mkdir()
    with _survivor() as survivor:
        mesh.files.write(_left_behind(survivor.pid, psutil.Process(survivor.pid).create_time()))
        await mesh.stop()
        assert survivor.wait(timeout=5) == -signal.SIGKILL
        assert mesh.state().phase is Phase.STOPPED


async def test_a_stranger_that_got_a_recorded_number_is_left_alone(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path / "data")
    mesh.files.data.mkdir()
    with _survivor() as stranger:
        mesh.files.write(_left_behind(stranger.pid, psutil.Process(stranger.pid).create_time() - 100.0))
        async with mesh:
            assert stranger.poll() is None
        stranger.kill()


def _survivor() -> subprocess.Popen[bytes]:
    script = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _left_behind(pid: int, started_at: float) -> MeshState:
    part = PartState(name="gateway", rank=3, phase=PartPhase.READY, process=ProcessId(pid=pid, started_at=started_at))
    return MeshState(phase=Phase.READY, supervisor=ProcessId(pid=1, started_at=1.0), parts=(part,))


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("memory=exit", "memory ended with code 3 while starting: cannot find my settings"),
        ("gateway=silent", "gateway is not ready after 2 s"),
    ],
)
async def test_a_part_that_does_not_start_fails_the_start_and_leaves_nothing(tmp_path: Path, behaviour: str, says: str) -> None:
    mesh = _mesh(tmp_path / "data", behaviour=behaviour)
    with pytest.raises(StartFailed, match=says) as failed:
        await mesh.start()
    assert ".log" in failed.value.remedy
    assert mesh.state().phase is Phase.FAILED
    assert says in mesh.state().problem
    assert mesh.pids == {}
    assert sorted(line for line in _journal(mesh) if line.startswith("stopped server")) == ["stopped server-a", "stopped server-b"]
    async with _mesh(tmp_path / "data") as again:
        assert again.state().problem == ""


async def test_a_part_that_does_not_listen_to_the_end_is_ended(tmp_path: Path) -> None:
    async with _mesh(tmp_path / "data", behaviour="memory=deaf") as mesh:
        pids = mesh.pids
    assert _alive(pids) == []
    assert mesh.state().phase is Phase.STOPPED


async def test_a_port_in_use_is_named_with_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taker:
        port = taker.getsockname()[1]
        with pytest.raises(StartFailed, match=f"port {port} is in use") as refused:
            await _mesh(tmp_path / "data", http_port=port).start()
    assert "--port" in refused.value.remedy


async def test_a_directory_of_another_version_is_refused_before_anything_starts(tmp_path: Path) -> None:
    mesh = _mesh(tmp_path)
    mesh.files.write(replace(MeshState(phase=Phase.STOPPED), format=99))
    with pytest.raises(OtherVersion, match="99"):
        await mesh.start()
    assert not mesh.files.logs.exists()


async def test_nothing_to_stop_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotRunning) as refused:
        await _mesh(tmp_path / "data").stop()
    assert "plimsoll up" in refused.value.remedy


@pytest.mark.crash
async def test_the_mesh_of_a_killed_test_process_ends_with_it(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from pathlib import Path
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted

async def main():
    mesh = Mesh(Wanted(data=Path({str(tmp_path / "data")!r}), environ=dict(os.environ)), supervisor=({str(STANDINS)!r},))
    await mesh.start()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    (tmp_path / "data").mkdir()
    subprocess.run([sys.executable, "-c", script], timeout=30, check=False)  # noqa: ASYNC221 - nothing else to do meanwhile
    mesh = _mesh(tmp_path / "data")
    if sys.platform == "linux":
        await eventually(lambda: mesh.state().phase is Phase.STOPPED)
    else:
        await mesh.stop()
    assert mesh.pids == {}
    assert all(find(part.process) is None for part in mesh.state().parts if part.process is not None)
