"""After kills, repeats and disorder the rows of every run are exactly what its journal says."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
from feedback_samples import ACME, journal
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import OperationFilter, RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.transport.codec import operation_to_proto, signal_recorded
from plimsoll_feedback.transport.event_codec import run_advanced
from plimsoll_runtime.bus import Bus, Outgoing, service_stream
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.parity import differences
from plimsoll_testkit.waiting import eventually

RUNS = 60
SUBJECT = "plimsoll.v1.orchestrator.run.advanced"


def journals() -> dict[str, Sequence[run_events_pb2.RunEvent]]:
    return {f"run_{number}": journal(f"run_{number}") for number in range(RUNS)}


def test_the_checker_sees_what_is_lost_doubled_changed_and_made_up() -> None:
    entries = journal()
    entries[2].step_finished.duration.nanos += 501  # clocks tell more than anybody keeps
    assert differences(entries, []) == ["run_1.3 is missing", "run_1.4 is missing", "run_1.5 is missing", "run_1.6 is missing"]
    rows = [operation_to_proto(one) for entry in entries if (one := observe(run_advanced(entry.SerializeToString())).operation) is not None]
    assert differences(entries, rows) == []
    assert differences(entries, [*rows, rows[0]]) == ["run_1.3 is there 2 times"]
    assert differences(entries[:-1], rows) == ["run_1.6 is in no journal"]
    rows[0].usage.cost_micros += 1
    rows[1].failure.reason = "ANOTHER"
    assert differences(entries, rows) == ["run_1.3: usage differs", "run_1.4: failure is 'ANOTHER', not 'TOO_SLOW'"]


@asynccontextmanager
async def process(postgres_dsn: str, nats_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service as it is deployed; killed at the end, however it is."""
    environ = {"INSECURE": "true", "POSTGRES_DSN": postgres_dsn, "NATS_URL": nats_url, "INGEST_BATCH": "16", "LOG_LEVEL": "ERROR"}
    one = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "plimsoll_feedback",
        env={**os.environ, **{f"PLIMSOLL_FEEDBACK_{name}": value for name, value in environ.items()}},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield one
    finally:
        if one.returncode is None:
            one.send_signal(signal.SIGKILL)
        await one.wait()


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        yield pool


async def publish(bus: Bus, rng: random.Random) -> None:
    """Every entry twice, all in disorder."""
    await bus.ensure_stream(service_stream("orchestrator"))
    entries = [entry for run in journals().values() for entry in run] * 2
    rng.shuffle(entries)
    await bus.publish_all(
        [
            Outgoing(subject=SUBJECT, payload=entry.SerializeToString(), message_id=f"{number}", tenant=ACME)
            for number, entry in enumerate(entries)
        ]
    )


async def stored(pool: asyncpg.Pool) -> int:
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval("select to_regclass('operations')") is None:
            return 0
        await connection.execute("select set_config('plimsoll.ingesting', 'yes', true)")
        return int(await connection.fetchval("select count(*) from operations"))


async def test_rows_equal_the_journals_after_three_kills_in_mid_batch(
    postgres_dsn: str, nats_url: str, bus: Bus, pool: asyncpg.Pool
) -> None:
    await publish(bus, random.Random(5))
    wanted = 4 * RUNS
    for share in (0.05, 0.3, 0.6):
        async with process(postgres_dsn, nats_url):

            async def enough(least: float = share * wanted) -> bool:
                return await stored(pool) >= least

            await eventually(enough, within_s=60)  # the block's end kills it, in the middle of whatever it does
    async with process(postgres_dsn, nats_url):

        async def complete() -> bool:
            return await stored(pool) >= wanted

        await eventually(complete, within_s=90)
        store = PostgresOperationStore(pool, signal_recorded)
        for run_id, entries in journals().items():
            rows = await store.find(ACME, OperationFilter(run_id=RunId(run_id)), PageRequest(size=500))
            assert differences(entries, [operation_to_proto(row) for row in rows]) == []
