"""Another PostgreSQL takes over: writes go on there, what was acknowledged is there, and nobody stays with one that only reads."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from plimsoll_runtime.errors import DeadlineExpired, PlimsollError, Unavailable
from plimsoll_runtime.postgres import open_pool, translating
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit import eventually
from runtime_own_postgres import replicated

pytestmark = pytest.mark.crash
WRITERS = 4
SOON = 60.0


class Log:
    """Numbers written through a pool by several at once, each until it is acknowledged, as a caller with time left would."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.acknowledged: list[int] = []
        self.refusals: list[PlimsollError] = []

    async def write(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for first in range(WRITERS):
                group.create_task(self._write(first, stop))

    async def _write(self, number: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                with translating():
                    async with self.pool.acquire(timeout=5) as connection, connection.transaction():
                        await connection.execute("insert into log values ($1) on conflict do nothing", number)
            except PlimsollError as error:
                self.refusals.append(error)
                await asyncio.sleep(0.02)  # what a caller does that was told to come again
            else:
                self.acknowledged.append(number)
                number += WRITERS

    async def goes_on(self) -> None:
        """More is acknowledged than was."""
        before = len(self.acknowledged)
        await eventually(lambda: len(self.acknowledged) > before + 20, within_s=SOON)


async def test_a_standby_takes_over_with_all_that_was_acknowledged(tmp_path: Path):
    async with replicated(tmp_path) as pair, open_pool(PostgresSettings(dsn=Secret(pair.dsn), pool_max=WRITERS), "public") as pool:
        await pool.execute("create table log (number int primary key)")
        log, stop = Log(pool), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(log.write(stop))
            await log.goes_on()
            await pair.primary.kill()
            await pair.standby.ask("select pg_promote()")
            await log.goes_on()

            told = len(log.refusals)
            await pair.standby.ask("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
            await eventually(lambda: len(log.refusals) > told and pool.get_size() == 0, within_s=SOON)
            await pair.standby.ask("alter system reset default_transaction_read_only", "select pg_reload_conf()")
            await log.goes_on()
            stop.set()
        kept = {row["number"] for row in await pool.fetch("select number from log")}
    assert set(log.acknowledged) <= kept
    assert len(log.acknowledged) == len(set(log.acknowledged))
    assert {type(error) for error in log.refusals} <= {Unavailable, DeadlineExpired}
    assert {error.reason for error in log.refusals} <= {"DATABASE_UNAVAILABLE", "DATABASE_TIMEOUT"}
