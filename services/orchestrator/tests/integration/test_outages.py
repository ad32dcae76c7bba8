"""Servers that go away under load, and workers that leave: every accepted run ends, and every event is published."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

import asyncpg
import pytest
from orchestrator_fakes import TENANT, Bench, LocalSignals, open_bench
from orchestrator_history import violations
from orchestrator_outages import Outages, Published, running
from plimsoll_orchestrator.adapters.signals import BusSignals
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_runtime.bus import open_bus
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import NatsSettings, Secret
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("outages")]
_RUNS = 150
JOURNEY = """
agent: journey
input: {type: object, properties: {canary: {type: string}}}
state: {type: object, properties: {canary: {type: string}, seen: {type: array}, n: {type: integer}}}
start: begin
output: {seen: state.seen}
nodes:
  begin: {set: {n: 0, seen: "[state.canary]"}, next: nap}
  nap: {wait: {for: 300ms}, next: count}
  count: {set: {n: "state.n + 1"}, next: again}
  again: {decide: {branches: [{when: "state.n < 3", next: nap}], default: both}}
  both: {parallel: {branches: {left: left, right: right}, merge: {seen: append}}, next: end}
  left: {set: {seen: "state.seen + [state.canary]"}, next: join}
  right: {set: {seen: "state.seen + [state.canary]"}, next: join}
"""


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outages]:
    with running(tmp_path_factory.mktemp("outages")) as outages:
        yield outages


@asynccontextmanager
async def load(outages: Outages) -> AsyncIterator[tuple[Bench, Published, list[str]]]:
    """Runs under way inside the block, more of them coming; after it all have ended, and left behind what they should."""
    published = Published(outages.operator_url)
    listener = await published.listen()
    try:
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(open_bus(NatsSettings(url=Secret(outages.nats_url)), "orchestrator", Metrics()))
            bench = await stack.enter_async_context(open_bench(outages.dsn, BusSignals(bus)))  # type: ignore[arg-type]
            await bench.register(JOURNEY)
            canaries = [f"canary-{random.getrandbits(48):x}-{number}" for number in range(_RUNS)]
            ids: list[str] = []
            async with asyncio.TaskGroup() as group:
                submitting = group.create_task(_submit(bench, canaries, ids))
                await eventually(lambda: len(ids) > _RUNS // 4)
                yield bench, published, ids
                await submitting
            await _all_well(bench, published, ids, canaries)
    finally:
        await listener.close()


async def _submit(bench: Bench, canaries: Sequence[str], ids: list[str]) -> None:
    """One after the other; what is refused for the moment is sent again under its key."""
    for canary in canaries:

        async def accepted(canary: str = canary) -> str:
            try:
                return await bench.start("journey", {"canary": canary}, key=canary)
            except PlimsollError as error:
                if not error.retryable:
                    raise
                return ""

        ids.append(await eventually(accepted))


async def _all_well(bench: Bench, published: Published, ids: Sequence[str], canaries: Sequence[str]) -> None:
    open_runs = "select count(*) = 0 from runs where finished_at is null"
    await eventually(lambda: _asked(bench, open_runs), within_s=60)
    await eventually(lambda: _asked(bench, "select count(*) = 0 from journal_outbox"))
    await bench.pool.expire_connections()  # those of a server that is gone
    assert await violations(bench.pool, canaries) == []
    for run_id, canary in zip(ids, canaries, strict=True):
        view = await bench.service.get_run(TENANT, run_id)
        assert view.run.status is RunStatus.SUCCEEDED, view.run.failure
        assert view.run.output == {"seen": [canary] * 3}
    await published.read_stream()
    entries = {f"{row['run_id']}:{row['seq']}" for row in await bench.pool.fetch("select run_id, seq from journal")}
    assert entries - published.ids == set()
    await bench.pool.execute("truncate runs, journal, mail, snapshots, approvals")  # each test judges its own runs only


async def _asked(bench: Bench, question: str) -> bool:
    try:
        return bool(await bench.pool.fetchval(question))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def test_streams_deleted_under_load_lose_nothing(outages: Outages) -> None:
    async with load(outages) as (_, published, _ids):
        await published.read_stream()
        await published.delete_streams()


async def test_nats_killed_and_started_again_under_load_loses_nothing(outages: Outages) -> None:
    async with load(outages) as (bench, _, ids):
        await outages.end("nats", signal.SIGKILL)
        known = len(ids)
        await eventually(lambda: len(ids) > known)  # runs are accepted
        done = "select count(*) > 5 from runs where finished_at is not null"
        await eventually(lambda: _asked(bench, done))  # and advanced without it
        await outages.start("nats")


async def test_postgres_stopped_at_once_and_started_again_under_load_loses_nothing(outages: Outages) -> None:
    async with load(outages):
        await outages.end("postgres", signal.SIGQUIT)  # "immediate": as if it had crashed
        await outages.start("postgres")


async def test_a_worker_told_to_leave_under_load_gives_its_runs_back(outages: Outages) -> None:
    async with load(outages) as (bench, _, _ids):
        assert await outages.end("worker-1", signal.SIGTERM) == 0
        held = await bench.pool.fetch("select distinct worker from runs where worker is not null and finished_at is null")
        assert len(held) <= 1
    await outages.start("worker-1")


class Scrambled(LocalSignals):
    """Wake-up calls of which some never come, some come twice, and some late, after others."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(7)
        self._late: list[str] = []

    async def run_ready(self, run_id: str) -> None:
        await self.runs_readied([run_id])

    async def runs_readied(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self._late += [run_id] * self._random.randrange(3)
        self._random.shuffle(self._late)
        while len(self._late) > 5:
            await super().runs_readied([self._late.pop()])


class Wrong(SystemClock):
    """The clock of a machine that somebody sets."""

    def __init__(self, hours: float) -> None:
        self.hours = hours

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self.hours)


async def _journeys(bench: Bench, number: int) -> list[str]:
    await bench.register(JOURNEY)
    return [await bench.start("journey", {"canary": f"c-{n}"}) for n in range(number)]


async def test_hints_lost_doubled_and_out_of_order_delay_a_run_by_seconds_at_the_most(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, Scrambled()) as bench, bench.working(bench.worker("a"), bench.worker("b")):
        for run_id in await _journeys(bench, 40):
            view = await bench.ended(run_id)
            assert view.run.status is RunStatus.SUCCEEDED
            assert view.run.finished_at is not None
            assert view.run.started_at is not None
            assert view.run.finished_at - view.run.started_at < timedelta(seconds=20)
        assert await violations(bench.pool) == []


async def test_leases_and_timers_follow_the_databases_clock_whatever_a_workers_clock_says(postgres_dsn: str) -> None:
    ahead, behind = Wrong(1), Wrong(-1)
    async with open_bench(postgres_dsn) as bench:
        workers = bench.worker("ahead", local=ahead), bench.worker("behind", local=behind)
        async with bench.working(*workers):
            ids = await _journeys(bench, 40)
            await eventually(lambda: bench.pool.fetchval("select count(*) > 100 from journal"))
            ahead.hours, behind.hours = -1, 1  # set in mid-load
            for run_id in ids:
                view = await bench.ended(run_id)
                assert view.run.status is RunStatus.SUCCEEDED
                assert view.run.finished_at is not None
                assert view.run.started_at is not None
                assert timedelta(seconds=0.9) <= view.run.finished_at - view.run.started_at < timedelta(seconds=20)
        assert await bench.pool.fetchval("select count(*) from runs where abandoned <> '{}'") == 0
        assert await violations(bench.pool) == []
