"""Row-level security: a tenant sees nothing of another, whatever a statement forgets."""

import io
import json

import asyncpg
import pytest
from memory_samples import ACME, NORTH, UMBRELLA, draft, question
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex, index_is_usable
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.search import Candidates

WRITTEN = ("collections", "documents", "chunks", "embeddings", "terms")
FILLED = {  # by hand, the same for every tenant: keys that meet
    "projections": "insert into projections values ($1, 'help', 'kettl', 'latent-128-v1.1', array_fill(1, array[128])::vector::halfvec)",
    "threads": "insert into threads (tenant, thread_id, created_at, updated_at) values ($1, 'th', now(), now())",
    "turns": "insert into turns values ($1, 'th', 1, 'user', 'hello', 2, null, '', now())",
    "facts": "insert into facts values ($1, 'fact_1', 's', 'a', 'b', 'c', 'user', 'th', 1, null, '{}', '', '', 1, now(), now())",
    "remembered": "insert into remembered values ($1, 'thread/th', 'key', 'd', '{}', now())",
    "query_sets": "insert into query_sets values ($1, 'set', 'help', '{}', 'd', 0, 0, now())",
    "searches": "insert into searches values ($1, 'search_1', 'help', now(), 0, 1, 1, false, false, 0, 0, '{}', null)",
    "quality_windows": "insert into quality_windows values ($1, 'help', '2026-01-01', '{}', false)",
    "drifts": "insert into drifts values ($1, 'help', 'empty', '{}', now())",
    "uploads": "insert into uploads values ($1, 'help', 'a.md', 'key', 1, 1, 1, 1, '', now())",
    "upload_pieces": "insert into upload_pieces values ($1, 'help', 'a.md', 1, 'rest')",
}
TABLES = (*WRITTEN, *FILLED)
NAMES_ONLY = {"chores", "watched"}
"""Read by loops that work for all tenants; they hold no more than a tenant's and a collection's name."""


@pytest.fixture
async def shelf(pool: asyncpg.Pool) -> PostgresLibrary:
    """One document of each of two tenants, under the same ids."""
    library = PostgresLibrary(pool)
    await library.store(ACME, draft("acme kettle", "acme lamp"))
    await library.store(UMBRELLA, draft("umbrella kettle"))
    for tenant in (ACME, UMBRELLA):
        async with working_for(pool, tenant) as connection:
            for statement in FILLED.values():
                await connection.execute(statement, tenant)
    return library


async def tenants(connection: asyncpg.Connection, table: str) -> set[str]:
    return {row["tenant"] for row in await connection.fetch(f"select tenant from {table}")}


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("table", TABLES)
async def test_without_a_predicate_only_the_own_tenants_rows_are_seen(pool: asyncpg.Pool, table: str) -> None:
    async with working_for(pool, ACME) as connection:
        assert await tenants(connection, table) == {ACME}
    async with working_for(pool, UMBRELLA) as connection:
        assert await tenants(connection, table) == {UMBRELLA}


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_nothing_is_seen_before_and_after_others_used_the_connection(pool: asyncpg.Pool, table: str) -> None:
    async with pool.acquire() as connection:
        assert await tenants(connection, table) == set()
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select set_config('plimsoll.tenant', $1, true)", ACME)
        assert await tenants(connection, table) == {ACME}
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("select 1 / 0")
        await transaction.rollback()
        assert await tenants(connection, table) == set()
        async with connection.transaction():
            await connection.execute("select set_config('plimsoll.tenant', $1, true)", ACME)
        assert await tenants(connection, table) == set(), "the setting is empty now, not null"


@pytest.mark.usefixtures("shelf")
async def test_a_statement_that_forgets_its_tenant_changes_the_own_rows_only(pool: asyncpg.Pool, postgres_superuser_dsn: str) -> None:
    async with working_for(pool, ACME) as connection:
        await connection.execute("update chunks set body = 'changed'")
        await connection.execute("delete from embeddings")
    superuser = await asyncpg.connect(postgres_superuser_dsn)
    try:
        bodies = await superuser.fetch("select tenant, body from memory.chunks order by 1, 2")
        assert [tuple(row) for row in bodies] == [(ACME, "changed"), (ACME, "changed"), (UMBRELLA, "umbrella kettle")]
        assert [row["tenant"] for row in await superuser.fetch("select tenant from memory.embeddings")] == [UMBRELLA]
    finally:
        await superuser.close()


@pytest.mark.usefixtures("shelf")
async def test_a_row_of_another_tenant_cannot_be_written(pool: asyncpg.Pool) -> None:
    spying = "insert into terms (tenant, collection, lexeme, chunks) values ($1, 'help', 'spy', 1)"
    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(spying, UMBRELLA)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select set_config('plimsoll.tenant', $1, true)", ACME)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(spying, UMBRELLA)
        await transaction.rollback()


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    "statement",
    [
        "with gone as (delete from chunks returning body) select string_agg(body, '') from gone",
        "with changed as (update chunks set body = body returning body) select string_agg(body, '') from changed",
        "select string_agg(body, '') from (select body from chunks for update) as held",
        "select string_agg(c.body, '') from documents as d left join lateral (select body from chunks) as c on true",
        "select string_agg(t::text, '') from chunks as t tablesample system (100)",
        "select string_agg(row_to_json(t)::text, '') from chunks as t",
    ],
)
async def test_no_form_of_a_statement_shows_a_foreign_row(pool: asyncpg.Pool, statement: str) -> None:
    async with working_for(pool, ACME) as connection:
        told = await connection.fetchval(statement)
    assert "acme kettle" in told
    assert "umbrella" not in told


@pytest.mark.usefixtures("shelf")
async def test_statistics_of_the_planner_tell_no_values(pool: asyncpg.Pool) -> None:
    await pool.execute("analyze chunks")
    async with working_for(pool, ACME) as connection:
        assert await connection.fetchval("select count(*) from pg_stats where schemaname = current_schema() and tablename = 'chunks'") == 0


@pytest.mark.usefixtures("shelf")
async def test_bulk_statements_take_the_own_rows_out_and_bring_none_in(pool: asyncpg.Pool) -> None:
    out = io.BytesIO()
    async with working_for(pool, ACME) as connection:
        await connection.copy_from_table("chunks", output=out)
        await connection.copy_from_query("select * from chunks", output=out)
    assert b"acme kettle" in out.getvalue()
    assert b"umbrella" not in out.getvalue()
    async with pool.acquire() as connection:
        await connection.execute("select set_config('plimsoll.tenant', $1, false)", ACME)
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="row-level security"):
            await connection.copy_records_to_table("terms", records=[(UMBRELLA, "help", "spy", 1)])


@pytest.mark.usefixtures("shelf")
async def test_a_plan_counts_the_own_rows_only(pool: asyncpg.Pool) -> None:
    async with working_for(pool, ACME) as connection:
        plan = await connection.fetchval(
            "explain (analyze, costs off, timing off, format json) select * from chunks where body like '%umbrella%'"
        )
        assert plan[0]["Plan"]["Actual Rows"] == 0
        assert "umbrella kettle" not in json.dumps(plan)


@pytest.mark.usefixtures("shelf")
async def test_code_of_the_database_works_under_the_policies_too(pool: asyncpg.Pool) -> None:
    """A block, several statements in one text, and a function of the owner with the owner's rights: forced means the owner as well."""
    heard: list[str] = []

    def hear(_: object, message: object) -> None:
        heard.append(str(message))

    async with pool.acquire() as connection, connection.transaction():
        connection.add_log_listener(hear)
        await connection.execute(
            f"""
            select set_config('plimsoll.tenant', '{ACME}', true);
            do $$ begin raise warning 'seen: %', (select string_agg(body, ' ') from chunks); end $$;
            create function all_of_them() returns text security definer begin atomic select string_agg(body, ' ') from chunks; end;
            delete from embeddings;
            """
        )
        assert "umbrella" not in await connection.fetchval("select all_of_them()")
        connection.remove_log_listener(hear)
    assert any("seen: acme" in one for one in heard)
    assert not any("umbrella" in one for one in heard)
    async with working_for(pool, UMBRELLA) as connection:
        assert await connection.fetchval("select count(*) from embeddings") == 1


@pytest.mark.usefixtures("shelf")
async def test_policies_that_are_switched_off_show_nothing_instead_of_all(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("set local row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.fetch("select * from chunks")


async def test_the_role_is_neither_superuser_nor_above_the_policies(pool: asyncpg.Pool) -> None:
    row = await pool.fetchrow("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
    assert (row["rolsuper"], row["rolbypassrls"]) == (False, False)


async def test_every_table_with_tenants_is_forced_under_a_policy(pool: asyncpg.Pool) -> None:
    rows = await pool.fetch(
        """
        select relname, relrowsecurity and relforcerowsecurity as forced, exists (select from pg_policy where polrelid = pg_class.oid) as ruled
        from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'm')
        """
    )
    unruled = {row["relname"] for row in rows if not (row["forced"] and row["ruled"])}
    assert unruled == {"outbox", "schema_migrations"} | NAMES_ONLY, "the relay and the loops work for all tenants"
    assert {row["relname"] for row in rows} - unruled == set(TABLES)


async def test_every_unique_key_begins_with_the_tenant(pool: asyncpg.Pool) -> None:
    """Else a collision would tell that another tenant has such a row."""
    rows = await pool.fetch(
        """
        select relname, attname from pg_index join pg_class on pg_class.oid = indrelid
        join pg_attribute on attrelid = indrelid and attnum = indkey[0]
        where indisunique and relnamespace = current_schema()::regnamespace and relname = any ($1)
        """,
        list(TABLES),
    )
    assert {(row["relname"], row["attname"]) for row in rows} == {(table, "tenant") for table in TABLES}


async def test_every_foreign_key_carries_the_tenant(pool: asyncpg.Pool) -> None:
    """Foreign keys look past the policies: without the tenant in them a row could point at another tenant's."""
    rows = await pool.fetch(
        """
        select conname, exists (
            select from unnest(conkey, confkey) as pair (here, there)
            join pg_attribute as mine on mine.attrelid = conrelid and mine.attnum = here
            join pg_attribute as theirs on theirs.attrelid = confrelid and theirs.attnum = there
            where mine.attname = 'tenant' and theirs.attname = 'tenant'
        ) as carried
        from pg_constraint where contype = 'f' and connamespace = current_schema()::regnamespace
        """
    )
    assert rows
    assert all(row["carried"] for row in rows)


async def test_the_full_text_index_is_used_where_its_operator_counts_as_leakproof(pool: asyncpg.Pool, postgres_superuser_dsn: str) -> None:
    library = PostgresLibrary(pool)
    await library.store(ACME, draft(*(f"note number{number} about common things" for number in range(2000))))
    await pool.execute("analyze chunks")
    superuser = await asyncpg.connect(postgres_superuser_dsn)
    used = []
    try:
        for mark in ("not leakproof", "leakproof"):
            await superuser.execute(f"alter function ts_match_vq(tsvector, tsquery) {mark}")
            used.append((await index_is_usable(pool), await by_index(pool)))
    finally:
        await superuser.close()
    assert used == [(False, False), (True, True)]


async def by_index(pool: asyncpg.Pool) -> bool:
    async with working_for(pool, ACME) as connection:
        number = await connection.fetchval("select number from collections")
        rows = await connection.fetch(
            "explain select chunk_id from chunks where tenant = $1 and collection = $2 and lexemes @@ $3::tsquery",
            ACME,
            "help",
            f"'{number}:number77'",
        )
    return any("chunks_lexemes" in row[0] for row in rows)


async def test_a_small_tenant_beside_a_large_one_gets_what_it_would_get_alone(pool: asyncpg.Pool) -> None:
    library, index = PostgresLibrary(pool), PostgresPassageIndex(pool)
    mine = [f"kettle number{number} in the kitchen" for number in range(30)]
    wanted = question("kettle number7 in the large kitchen", vector=NORTH, keep=30)
    await library.store(ACME, draft(*mine))
    alone = await index.candidates(ACME, wanted)
    await library.store(UMBRELLA, draft(*(f"large kettle number{number}" for number in range(3000))))
    beside = await index.candidates(ACME, wanted)
    assert ranks(beside) == ranks(alone)
    assert beside.vector_count == 30


def ranks(found: Candidates) -> dict[str, tuple[int, int]]:
    return {one.chunk_id: (one.text_rank, one.vector_rank) for one in found.passages}
