"""What a user sees of `up`, `down`, `status` and `logs`, on a mesh of stand-ins."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from plimsoll_client.cli.main import invoke
from plimsoll_devstack.errors import NotRunning
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.state import MeshState, Phase
from plimsoll_testkit import eventually

STANDINS = Path(__file__).parent.parent / "standins" / "supervise.py"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    running = Mesh(Wanted(data=tmp_path / "data", environ=dict(os.environ)), supervisor=(str(STANDINS),))
    asyncio.run(running.start())
    yield running
    with suppress(NotRunning):
        asyncio.run(running.stop())


def _run(*argv: str | Path) -> int:
    return invoke([str(word) for word in argv], os.environ)


def test_status_shows_every_part_with_its_process_and_address(mesh: Mesh, capsys: Capture) -> None:
    assert _run("status", "--data", mesh.files.data) == 0
    shown = capsys.readouterr().out
    for name, pid in mesh.pids.items():
        assert name in shown
        assert str(pid) in shown
    assert mesh.http_url in shown
    assert str(mesh.files.api_key) in shown


def test_status_for_programs_is_json(mesh: Mesh, capsys: Capture) -> None:
    asyncio.run(mesh.kill("memory"))
    asyncio.run(mesh.ready("memory"))
    assert _run("status", "--data", mesh.files.data, "--json") == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert shown["phase"] == "ready"
    assert {part["name"]: part["pid"] for part in shown["parts"]} == mesh.pids
    crashed = next(part for part in shown["parts"] if part["name"] == "memory")
    assert crashed["restarts"] == 1
    assert "signal 9" in crashed["problem"]


def test_status_of_a_killed_mesh_says_so(mesh: Mesh, capsys: Capture) -> None:
    supervisor = mesh.state().supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    asyncio.run(eventually(lambda: not mesh.state().supervised))
    assert _run("status", "--data", mesh.files.data) == 1
    assert "killed" in capsys.readouterr().out


def test_down_stops_and_a_second_down_says_that_nothing_runs(mesh: Mesh, capsys: Capture) -> None:
    assert _run("down", "--data", mesh.files.data) == 0
    assert "stays in" in capsys.readouterr().out
    assert mesh.pids == {}
    assert _run("status", "--data", mesh.files.data) == 1
    assert _run("down", "--data", mesh.files.data) == 5
    assert "plimsoll up" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["down", "status", "logs"])
def test_without_a_mesh_each_command_says_how_to_start_one(tmp_path: Path, capsys: Capture, command: str) -> None:
    assert _run(command, "--data", tmp_path / "none") == 5
    assert "no mesh runs in" in (said := capsys.readouterr().err)
    assert "plimsoll up" in said
    assert not (tmp_path / "none").exists()


def test_logs_shows_one_part_or_all_with_their_names(mesh: Mesh, capsys: Capture) -> None:
    mesh.files.log("memory").write_text("one\ntwo\nthree\n")
    assert _run("logs", "memory", "--lines", "2", "--data", mesh.files.data) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    assert _run("logs", "--data", mesh.files.data) == 0
    assert "memory | one" in (shown := capsys.readouterr().out)
    assert "supervisor | " in shown


def test_logs_of_an_unknown_part_names_the_known_ones(mesh: Mesh, capsys: Capture) -> None:
    assert _run("logs", "memry", "--data", mesh.files.data) == 3
    assert "memory" in capsys.readouterr().err


def test_up_on_a_running_mesh_shows_where_it_is(mesh: Mesh, capsys: Capture) -> None:
    before = mesh.pids
    assert _run("up", "--data", mesh.files.data) == 0
    assert mesh.http_url in capsys.readouterr().out
    assert mesh.pids == before


def test_up_refuses_while_another_is_at_work(mesh: Mesh, capsys: Capture) -> None:
    mesh.files.write(replace(mesh.state(), phase=Phase.STARTING))
    assert _run("up", "--data", mesh.files.data) == 1
    assert "is starting" in capsys.readouterr().err


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_up_names_a_port_that_is_in_use(tmp_path: Path, taken: int, capsys: Capture) -> None:
    assert _run("up", "--data", tmp_path / "data", "--port", str(taken)) != 0
    assert f"port {taken} is in use" in (said := capsys.readouterr().err)
    assert "--port" in said


def test_up_refuses_a_directory_it_cannot_write(capsys: Capture) -> None:
    assert _run("up", "--data", "/dev/null/mesh") == 2
    assert "/dev/null/mesh" in (said := capsys.readouterr().err)
    assert "--data" in said


def test_up_refuses_a_directory_of_another_version(tmp_path: Path, capsys: Capture) -> None:
    Mesh(Wanted(data=tmp_path)).files.write(replace(MeshState(phase=Phase.STOPPED), postgres="17"))
    assert _run("up", "--data", tmp_path) == 1
    assert "PostgreSQL 17" in (said := capsys.readouterr().err)
    assert "--data" in said


def test_up_names_a_folder_of_agents_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert _run("up", "--data", tmp_path / "data", "--agents", tmp_path / "agents") != 0
    assert "agents" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
