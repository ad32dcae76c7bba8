"""The call ledger on a real Postgres."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_tool_dispatcher.adapters.postgres import MIGRATIONS, PostgresCallLedger
from plimsoll_tool_dispatcher.main import SCHEMA
from plimsoll_tool_dispatcher.transport.codec import call_completed
from tool_dispatcher_behaviour import Announced, CallLedgerBehaviour


class TestPostgresCallLedger(CallLedgerBehaviour):
    @pytest.fixture
    async def pool(self, postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
        async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), SCHEMA) as pool:
            await migrate(pool, SCHEMA, [OUTBOX_MIGRATIONS, MIGRATIONS])
            yield pool

    @pytest.fixture
    def ledger(self, pool: asyncpg.Pool) -> PostgresCallLedger:
        return PostgresCallLedger(pool, call_completed)

    @pytest.fixture
    def announced(self, pool: asyncpg.Pool) -> Announced:
        async def ids() -> list[str]:
            return [row["event_id"] for row in await pool.fetch("select event_id from outbox order by position")]

        return ids
