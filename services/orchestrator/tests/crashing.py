"""A worker as a process of its own, that ends itself with SIGKILL at a point that a test chooses."""

import asyncio
import os
import runpy
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import asyncpg
from orchestrator_fakes import Bench, FakeModels, FakeTools, LostSignals, answer, open_bench
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.ports import Answer, Append, Claimed, Committed, Grant, NoAnswer, Question, Returned, ToolOutcome
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.waiting import eventually

EFFECTS = """
create table if not exists effects (call_key text primary key, tool text not null, name text not null, times int not null default 1)
"""
_ACT = """
insert into effects (call_key, tool, name) values ($1, $2, $3) on conflict (call_key) do update set times = effects.times + 1
"""
_context = get_context("forkserver")
_context.set_forkserver_preload(["asyncpg", "plimsoll_orchestrator.main", "plimsoll_testkit.waiting"])


class Fuse:
    """Counts the points that the worker passes; at the chosen one it ends the process without a word."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self.passed = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class FusedStore(PostgresClaimStore):
    """The real store, with a point on both sides of whatever reaches the database."""

    def __init__(self, pool: asyncpg.Pool, fuse: Fuse) -> None:
        super().__init__(pool, DatabaseClock(SystemClock()))
        self._fuse = fuse

    async def claim(self, worker: str, limit: int, held: dict[str, int]) -> Sequence[Claimed]:
        taken = await super().claim(worker, limit, held)
        if taken:
            self._fuse.point()
        return taken

    async def append(self, batch: Sequence[Append]) -> Committed:
        self._fuse.point()
        committed = await super().append(batch)
        self._fuse.point()
        return committed


class FusedTools(FakeTools):
    """Tools whose effects outlive the worker: a call acts once per key, and a point lies before, between acting and answering, and after."""

    def __init__(self, pool: asyncpg.Pool, fuse: Fuse) -> None:
        super().__init__()
        self._pool = pool
        self._fuse = fuse

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        self._fuse.point()
        await self._pool.execute(_ACT, call_key, tool, str(arguments.get("name", "")))
        self._fuse.point()
        return Returned(result={"value": arguments.get("value"), "name": arguments.get("name")})


class FusedModels(FakeModels):
    def __init__(self, fuse: Fuse, reply: Callable[[Question], Answer | NoAnswer]) -> None:
        super().__init__(reply=reply)
        self._fuse = fuse

    async def generate(self, question: Question, hear: object = None) -> Answer | NoAnswer:
        self._fuse.point()
        return await super().generate(question)


async def _advance(dsn: str, kill_at: int, run_ids: Sequence[str], told: Callable[[int], None]) -> None:
    async with open_bench(dsn, LostSignals()) as bench:
        fuse = Fuse(kill_at)
        bench.tools = FusedTools(bench.pool, fuse)
        bench.models = FusedModels(fuse, lambda question: answer("said"))
        async with bench.working(bench.worker(f"process-{os.getpid()}", store=FusedStore(bench.pool, fuse))):
            await _ended(bench, run_ids)
        with suppress(BrokenPipeError):  # nobody asks
            told(fuse.passed)


async def _ended(bench: Bench, run_ids: Sequence[str]) -> None:
    open_runs = "select count(*) = 0 from runs where run_id = any($1::text[]) and finished_at is null"
    await eventually(lambda: bench.pool.fetchval(open_runs, list(run_ids)), within_s=120)


def advance(dsn: str, kill_at: int, run_ids: Sequence[str], pipe: Connection) -> None:
    """Work in this process until the runs have ended, or until the fuse burns through."""
    asyncio.run(_advance(dsn, kill_at, run_ids, pipe.send))


def start(dsn: str, run_ids: Sequence[str], kill_at: int = 0) -> tuple[BaseProcess, Callable[[], int]]:
    """A worker process that works until the runs have ended; (process, how many points it passed)."""
    ours, theirs = _context.Pipe(duplex=False)
    script = str(Path(__file__).with_name("worker_process.py"))
    task = {"TASK": (dsn, kill_at, tuple(run_ids), theirs)}
    process = _context.Process(target=runpy.run_path, args=(script, task), daemon=True)
    process.start()
    theirs.close()
    return process, ours.recv
