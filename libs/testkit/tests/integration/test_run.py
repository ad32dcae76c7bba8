"""One set of servers serves a whole pytest run, and nothing of it outlives the run, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest
from plimsoll_devstack.processes import ProcessId, find
from plimsoll_testkit import eventually

_TESTS = """
import os, signal
import pytest

@pytest.mark.parametrize("n", range(4))
def test_uses_all(postgres_dsn, nats_url, redis_url, pytestconfig, n):
    from plimsoll_testkit.plugin import _RUN
    run = pytestconfig.stash[_RUN]
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"{run.directory} {postgres_dsn.split('@')[1].split('/')[0]} {nats_url.split('@')[0]}\\n")
    if n == 0 and os.environ.get("END") == "kill":
        os.kill(run.controller.pid, signal.SIGKILL)
    if n == 0 and os.environ.get("END") == "interrupt":
        os.kill(run.controller.pid, signal.SIGINT)
"""


class Run:
    """A pytest run of its own, as a process."""

    def __init__(self, folder: Path, *options: str, end: str = "") -> None:
        (folder / "test_inner.py").write_text(_TESTS)
        (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        self._seen = folder / "seen"
        self.finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-c", str(folder / "pytest.ini"), *options, str(folder / "test_inner.py")],
            env=dict(os.environ) | {"SEEN": str(self._seen), "END": end},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.seen = [line.split() for line in self._seen.read_text().splitlines()]
        self.directory = Path(self.seen[0][0])

    async def left_nothing(self) -> None:
        """No directory, and no process that has it on its command line."""
        await eventually(lambda: not self.directory.exists())
        await eventually(lambda: not _processes_of(self.directory))


def _processes_of(directory: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if str(directory) in " ".join(process.info["cmdline"] or ())]


async def test_nothing_is_left_of_a_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.finished.returncode == 0, run.finished.stdout
    await run.left_nothing()


async def test_all_workers_share_one_set_and_none_its_place_in_it(tmp_path: Path) -> None:
    run = Run(tmp_path, "-n", "2", "--dist", "each")
    assert run.finished.returncode == 0, run.finished.stdout
    assert len({(directory, postgres) for directory, postgres, _ in run.seen}) == 1
    assert len({nats for _, _, nats in run.seen}) == 2
    await run.left_nothing()


async def test_nothing_is_left_of_an_interrupted_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "-n", "1", end="interrupt")
    assert run.finished.returncode == pytest.ExitCode.INTERRUPTED, run.finished.stdout
    await run.left_nothing()


@pytest.mark.crash
async def test_nothing_is_left_of_a_killed_run(tmp_path: Path) -> None:
    run = Run(tmp_path, end="kill")
    assert run.finished.returncode == -signal.SIGKILL
    await run.left_nothing()


def test_a_run_that_needs_no_server_starts_none(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_pure.py").write_text(
        "def test_pure(pytestconfig):\n    from plimsoll_testkit.plugin import _RUN\n    assert not any(pytestconfig.stash[_RUN].directory.iterdir())\n"
    )
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini"], cwd=tmp_path, timeout=60, check=True)


def test_a_process_is_known_by_number_and_start_together() -> None:
    own = psutil.Process()
    assert find(ProcessId(pid=own.pid, started_at=own.create_time())) is not None
    assert find(ProcessId(pid=own.pid, started_at=own.create_time() - 10)) is None
    assert orjson.loads(orjson.dumps(own.create_time())) == own.create_time()
