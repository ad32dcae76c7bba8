"""The servers shared by all processes of one pytest run: started by the first that needs them, ended by the controller."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import psutil
from plimsoll_devstack.processes import ProcessId, find

from plimsoll_testkit.ready import Ready, read_ready

_READY_WITHIN_S = 90.0
_END_WITHIN_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """One pytest run: its directory, and the controller whose end ends everything."""

    __test__ = False  # pytest: a name that begins with Test, but no test

    directory: Path
    controller: ProcessId

    @classmethod
    def begin(cls) -> "TestRun":
        """A new run with this process as its controller. Costs one empty directory."""
        process = ProcessId(pid=os.getpid(), started_at=psutil.Process().create_time())
        return cls(directory=Path(tempfile.mkdtemp(prefix="plimsoll-test-")), controller=process)

    def to_text(self) -> str:
        """For handing to a worker."""
        return orjson.dumps({"directory": str(self.directory), "controller": asdict(self.controller)}).decode()

    @classmethod
    def from_text(cls, text: str) -> "TestRun":
        """In the worker."""
        stored = orjson.loads(text)
        return cls(directory=Path(stored["directory"]), controller=ProcessId(**stored["controller"]))

    def servers(self) -> Ready:
        """How to reach the servers; starts them when this is the first request of the run."""
        with self._locked():
            if (ready := read_ready(self.directory)) is not None:
                return ready
            return self._start()

    def end(self) -> None:
        """End the servers and remove the run's directory (controller only)."""
        host = self._host()
        if host is not None and (process := find(host)) is not None:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _END_WITHIN_S
            while find(host) is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> Ready:
        log = self.directory / "host.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "plimsoll_testkit.host",
                    str(self.directory),
                    str(self.controller.pid),
                    str(self.controller.started_at),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the tests first; the controller then ends the host
            )
        host = ProcessId(pid=process.pid, started_at=psutil.Process(process.pid).create_time())
        (self.directory / "host.json").write_bytes(orjson.dumps(asdict(host)))
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            if (ready := read_ready(self.directory)) is not None:
                process.returncode = 0  # it outlives us on purpose: no warning about a child still running
                return ready
            if process.poll() is not None:
                break
            time.sleep(_POLL_S)
        problem = f"the test servers did not start:\n{log.read_text(errors='replace')[-4000:]}"
        raise RuntimeError(problem)

    def _host(self) -> ProcessId | None:
        try:
            return ProcessId(**orjson.loads((self.directory / "host.json").read_bytes()))
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
