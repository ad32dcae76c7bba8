"""Keys of every service's tables tell no tenant of another's rows, and nothing in a schema works with more rights than who asks."""

import pytest
from plimsoll_feedback.main import TABLES as FEEDBACK
from plimsoll_gateway.adapters.postgres_keys import TABLES as GATEWAY
from plimsoll_memory.main import TABLES as MEMORY
from plimsoll_model_router.adapters.tenancy import MIGRATIONS as MODEL_ROUTER
from plimsoll_orchestrator.main import MIGRATIONS as ORCHESTRATOR
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_tool_dispatcher.main import TABLES as TOOL_DISPATCHER

SCHEMAS = {
    "feedback": FEEDBACK,
    "gateway": GATEWAY,
    "memory": MEMORY,
    "model_router": MODEL_ROUTER,
    "orchestrator": (ORCHESTRATOR,),
    "tool_dispatcher": TOOL_DISPATCHER,
}
DRAWN_BY_US = {"run_id", "approval_id", "delivery_id", "key_id", "position"}
"""Columns that no client fills: ids drawn at random, and counters. A key with one of them collides with nothing of another tenant's."""
OF_NO_TENANT = {"schema_migrations", "cursors", "workers", "registry_revision"}
"""What the services keep for themselves."""

UNIQUE_KEYS = """
    select relname, array_agg(attname::text order by place) as columns
    from pg_index join pg_class on pg_class.oid = indrelid, unnest(indkey::int[]) with ordinality as part (number, place)
    join pg_attribute on attnum = number
    where indisunique and attrelid = indrelid and relnamespace = current_schema()::regnamespace
    group by indexrelid, relname having bool_and(attname <> 'tenant')
"""
FOREIGN_KEYS = """
    select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
    where contype = 'f' and connamespace = current_schema()::regnamespace and not exists (
        select from unnest(conkey, confkey) as pair (here, there)
        join pg_attribute as mine on mine.attrelid = conrelid and mine.attnum = here
        join pg_attribute as theirs on theirs.attrelid = confrelid and theirs.attnum = there
        where mine.attname = 'tenant' and theirs.attname = 'tenant'
    )
"""
ABOVE = """
    select proname from pg_proc where pronamespace = current_schema()::regnamespace and prosecdef
"""
# A materialized view keeps the rows of whoever filled it: no policy can be put on one.
VIEWS_OF_OWNERS = """
    select relname::text from pg_class where relnamespace = current_schema()::regnamespace and (relkind = 'm' or relkind = 'v' and not exists (
        select from pg_options_to_table(reloptions) where option_name = 'security_invoker' and option_value::boolean
    ))
    order by relname
"""


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_no_key_tells_of_another_tenants_rows(postgres_dsn: str, schema: str) -> None:
    """A key without the tenant collides across tenants, so it may hold nothing that a client chooses."""
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), schema) as pool:
        await migrate(pool, schema, SCHEMAS[schema])
        tables = {
            row["relname"] for row in await pool.fetch("select relname from pg_class where relnamespace = current_schema()::regnamespace")
        }
        loose = [tuple(row) for row in await pool.fetch(UNIQUE_KEYS) if row["relname"] not in OF_NO_TENANT]
        assert len(tables) > len(OF_NO_TENANT)
        assert [key for key in loose if not DRAWN_BY_US.intersection(key[1])] == []
        assert [row[0] for row in await pool.fetch(FOREIGN_KEYS) if "(run_id)" not in row[0]] == []
        assert [row[0] for row in await pool.fetch(ABOVE)] == []
        assert [row[0] for row in await pool.fetch(VIEWS_OF_OWNERS)] == []


async def test_a_view_that_shows_what_its_owner_sees_is_found(postgres_dsn: str) -> None:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "planted") as pool:
        await pool.execute("""
            create schema planted;
            create table rows as select 'acme' as tenant;
            create view asking with (security_invoker = on) as select * from rows;
            create view owning as select * from rows;
            create view owning_by_word with (security_barrier, security_invoker = off) as select * from rows;
            create materialized view kept as select * from rows;
        """)
        assert [row[0] for row in await pool.fetch(VIEWS_OF_OWNERS)] == ["kept", "owning", "owning_by_word"]
