"""A handle on the mesh of one data directory: start it, find it, disturb it, stop it. The command line and the tests use the same."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from plimsoll_client.bundles import Applied, apply, read_bundles
from plimsoll_client.connecting import connected
from plimsoll_client.location import endpoint

from plimsoll_devstack.errors import Busy, NoSuchPart, NotRunning, StartFailed
from plimsoll_devstack.files import private_directory
from plimsoll_devstack.leftovers import end_leftovers
from plimsoll_devstack.parts import last_words
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.processes import find, launch_line, spawn, until
from plimsoll_devstack.servers import Servers, recorded
from plimsoll_devstack.state import MeshFiles, MeshState, PartPhase, PartState, Phase
from plimsoll_devstack.supervise import wanted_to_text

_READY_WITHIN_S = 180.0
_STOP_WITHIN_S = 120.0
_GONE_WITHIN_S = 0.5
_POLL_S = 0.05

Progress = Callable[[MeshState | None], None]
"""Told from time to time what a start has reached."""


class Mesh:
    """The mesh of `wanted.data`.

    As a context manager it ends with the block and, on Linux, with this process. `start(detached=True)` leaves it running.
    """

    def __init__(self, wanted: Wanted, *, supervisor: tuple[str, ...] = ("-m", "plimsoll_devstack.supervise")) -> None:
        self.wanted = wanted
        self.files = MeshFiles(wanted.data)
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.apply_agents()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(NotRunning):  # stopped or killed within the block
            await self.stop()

    async def start(self, *, detached: bool = False, progress: Progress = lambda _: None) -> None:
        """Start and wait until everything is ready. Raises the DevstackError that prevented it, with nothing left running."""
        if await self._supervised():
            raise Busy(f"a mesh already runs in {self.files.data}", remedy="Use it, stop it with `plimsoll down`, or choose another --data")
        private_directory(self.files.data)
        log = private_directory(self.files.logs) / "supervisor.log"
        with _pipe() as (receiving, sending):
            process = self._spawn(log, sending, detached=detached)
            os.close(sending)
            try:
                async with asyncio.timeout(_READY_WITHIN_S):
                    await self._started(process, receiving, log, progress)
            except BaseException as error:
                await _end(process)
                if isinstance(error, TimeoutError):
                    raise StartFailed(f"the mesh is not ready after {_READY_WITHIN_S:g} s", remedy=f"See {self.files.logs}") from error
                raise
        if detached:
            process.returncode = 0  # it outlives us on purpose: no warning about a child still running
        else:
            self._process = process

    async def apply_agents(self, on_step: Callable[[str], None] = lambda _: None) -> tuple[Applied, ...]:
        """Bring the wanted agents into the running mesh: prompts, knowledge, graphs. Their tools came with the start."""
        if self.wanted.agents is None:
            return ()
        bundles = read_bundles(self.wanted.agents)
        async with connected(endpoint(self.grpc_address, self.api_key)) as target:
            return tuple([await apply(target, bundle, on_step=on_step) for bundle in bundles])

    async def stop(self) -> None:
        """Stop services, then servers; the data stays. Also ends what a killed supervisor left. Raises NotRunning when nothing runs."""
        state = self.state()
        try:
            if state.supervisor is not None and (supervisor := find(state.supervisor)) is not None:
                supervisor.send_signal(signal.SIGTERM)
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await until(lambda: not state.supervised)
                if self.state().phase in {Phase.STOPPED, Phase.FAILED}:
                    return
            await self._end_leftovers()
        except TimeoutError as error:
            raise StartFailed(f"the mesh has not stopped after {_STOP_WITHIN_S:g} s", remedy=f"See {self.files.logs}") from error
        finally:
            if self._process is not None:
                self._process.poll()  # collects the supervisor, if it was ours

    async def _end_leftovers(self) -> None:
        with self.files.locked():
            state = self.state()
            if not await end_leftovers(state):
                raise self._not_running()
            stopped = (replace(part, phase=PartPhase.STOPPED, process=None) for part in state.parts)
            self.files.write(replace(state, phase=Phase.STOPPED, supervisor=None, parts=tuple(stopped)))

    def state(self) -> MeshState:
        """What is recorded now. Raises NotRunning when there was never a mesh here."""
        if (state := self.files.read()) is None:
            raise self._not_running()
        return state

    @property
    def http_url(self) -> str:
        """Where REST is."""
        return self.state().http_url

    @property
    def grpc_address(self) -> str:
        """Where gRPC is."""
        return self.state().grpc_address

    @property
    def api_key(self) -> str:
        """The first API key, which the gateway made."""
        return self.files.api_key.read_text().strip()

    @property
    def pids(self) -> dict[str, int]:
        """The process of every part that runs now."""
        return {part.name: part.process.pid for part in self.state().parts if part.process is not None}

    @property
    def servers(self) -> Servers:
        """How to reach the embedded servers as any user, to look behind the services."""
        return recorded(self.files.data)

    def signal(self, part: str, number: signal.Signals) -> None:
        """Send a signal to one part: SIGKILL to crash it, SIGSTOP and SIGCONT to pause it."""
        process = self._part(part).process
        found = find(process) if process is not None else None
        if found is None:
            raise NoSuchPart(f"part {part} does not run now", remedy="Wait until it is ready again")
        found.send_signal(number)

    async def kill(self, part: str) -> None:
        """Crash a part and wait until its end is seen; the supervisor will bring it back."""
        before = self._part(part)
        self.signal(part, signal.SIGKILL)
        await self._until(part, lambda now: now.restarts > before.restarts, within_s=10.0)

    async def restart(self, part: str) -> None:
        """End a part politely and wait until it is back and ready."""
        before = self._part(part)
        self.signal(part, signal.Signals(before.stop_signal))
        await self._until(part, lambda now: now.restarts > before.restarts and now.phase is PartPhase.READY, within_s=60.0)

    async def ready(self, part: str, *, within_s: float = 60.0) -> None:
        """Wait until a part is ready."""
        await self._until(part, lambda now: now.phase is PartPhase.READY, within_s=within_s)

    async def _supervised(self) -> bool:
        """Whether somebody supervises this directory; one that was killed just now gets a moment to be gone."""
        state = self.files.read()
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await until(lambda: state is None or not state.supervised)
        except TimeoutError:
            return True
        return False

    async def _until(self, part: str, reached: Callable[[PartState], bool], *, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            await until(lambda: reached(self._part(part)))

    def _part(self, name: str) -> PartState:
        state = self.state()
        if (part := state.part(name)) is None:
            raise NoSuchPart(f"there is no part {name}", remedy=f"The parts are {', '.join(part.name for part in state.parts)}")
        return part

    def _spawn(self, log: Path, report_to: int, *, detached: bool) -> subprocess.Popen[bytes]:
        command = [sys.executable, *self._supervisor, wanted_to_text(replace(self.wanted, data=self.files.data)), str(report_to)]
        argv = command if detached else launch_line(command, die_with=signal.SIGTERM)
        return spawn(argv, env=self.wanted.environ, cwd=self.files.data, log=log, inherit=(report_to,))

    async def _started(self, process: subprocess.Popen[bytes], receiving: int, log: Path, progress: Progress) -> None:
        while True:
            try:
                message = os.read(receiving, 65_536)
            except BlockingIOError:
                progress(self.files.read())
                await asyncio.sleep(_POLL_S)
                continue
            if not message:
                raise StartFailed(f"the supervisor ended before the mesh was ready{last_words(log)}", remedy=f"See {log}")
            report = orjson.loads(message)
            if report["problem"]:
                raise StartFailed(report["problem"], remedy=report["remedy"])
            return

    def _not_running(self) -> NotRunning:
        return NotRunning(f"no mesh runs in {self.files.data}", remedy="Start one with `plimsoll up`, or name its directory with --data")


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    receiving, sending = os.pipe()
    os.set_blocking(receiving, False)
    try:
        yield receiving, sending
    finally:
        os.close(receiving)


async def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_WITHIN_S):
            await until(lambda: process.poll() is not None)
    except TimeoutError:
        process.kill()
