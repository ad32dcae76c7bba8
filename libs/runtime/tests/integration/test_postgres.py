"""The pool, the errors of the database as ours, and migrations that replicas run together."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from plimsoll_runtime.errors import Conflict, DeadlineExpired, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.postgres import (
    MigrationChanged,
    MigrationFailed,
    MigrationMisplaced,
    MigrationSet,
    migrate,
    open_pool,
    ping,
    translating,
    unlock,
)
from plimsoll_runtime.settings import InvalidSettings, PostgresSettings, Secret
from plimsoll_testkit.waiting import eventually
from runtime_relay import relaying

SCHEMA = "harbour"
SOON = 60.0


def settings(dsn: str, *, pool_max: int = 4, statement_cap_s: float = 30.0) -> PostgresSettings:
    return PostgresSettings(dsn=Secret(dsn), pool_min=1, pool_max=pool_max, statement_cap_s=statement_cap_s)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(settings(postgres_dsn), SCHEMA) as opened:
        yield opened


# --- the pool ----------------------------------------------------------------------------------------------------------------


async def test_a_connection_speaks_json_and_sees_its_schema_first(pool: asyncpg.Pool):
    await pool.execute(f"create schema {SCHEMA}")
    await pool.execute("create table ships (papers jsonb)")
    await pool.execute("insert into ships values ($1)", {"name": "Ada", "crew": [1, 2.5, None]})
    assert await pool.fetchval(f"select papers from {SCHEMA}.ships") == {"name": "Ada", "crew": [1, 2.5, None]}


async def test_a_ping_tells_whether_the_database_answers(postgres_dsn: str):
    async with relaying(postgres_dsn) as relay, open_pool(settings(relay.url), SCHEMA) as pool:
        await ping(pool)
        await relay.close()
        with pytest.raises(Unavailable):
            await ping(pool)
        await relay.open()
        await ping(pool)


async def test_a_pool_in_full_use_is_busy_not_away(postgres_dsn: str):
    async with open_pool(settings(postgres_dsn, pool_max=1), SCHEMA) as pool, pool.acquire():
        async with asyncio.timeout(1):
            await ping(pool)


async def test_a_pool_closes_in_time_though_a_connection_is_still_in_use(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.postgres._CLOSE_CAP_S", 0.1)
    async with asyncio.timeout(SOON):
        async with open_pool(settings(postgres_dsn), SCHEMA) as pool:
            held = await pool.acquire()
    with pytest.raises(asyncpg.InterfaceError):
        await held.fetchval("select 1")


# --- opening -----------------------------------------------------------------------------------------------------------------


def refused_role(dsn: str) -> str:
    user, _, rest = dsn.partition("@")
    return f"{user}x@{rest}"


def missing_database(dsn: str) -> str:
    return dsn.rpartition("/")[0] + "/atlantis"


async def test_a_database_that_cannot_be_used_yet_is_unavailable(postgres_dsn: str):
    reasons: list[str] = []
    for dsn in (
        refused_role(postgres_dsn),
        missing_database(postgres_dsn),
        "postgresql://u:p@127.0.0.1:1/db",
        "postgresql://u:p@no-such-host.invalid/db",
    ):
        with pytest.raises(Unavailable) as caught:
            async with open_pool(settings(dsn), SCHEMA):
                pass
        reasons.append(caught.value.reason)
    assert reasons == ["DATABASE_REFUSED", "DATABASE_REFUSED", "DATABASE_UNAVAILABLE", "DATABASE_UNAVAILABLE"]


async def test_a_url_that_cannot_be_read_is_told_without_a_word_of_it():
    with pytest.raises(InvalidSettings) as caught:
        async with open_pool(settings("postgresql://role:half@secret:word@host/db"), SCHEMA):
            pass
    told = [str(caught.value), str(caught.value.__cause__)] + ([] if caught.value.__suppress_context__ else [str(caught.value.__context__)])
    assert not any("secret" in text for text in told)


# --- errors ------------------------------------------------------------------------------------------------------------------


async def outcome(pool: asyncpg.Pool | asyncpg.Connection, statement: str, *arguments: object) -> PlimsollError | None:
    try:
        with translating():
            await pool.execute(statement, *arguments)
    except PlimsollError as error:
        return error
    return None


Case = tuple[str, tuple[object, ...], type[PlimsollError], str]
CASES: list[Case] = [
    ("insert into berths values (1, 'again')", (), Conflict, "ALREADY_EXISTS"),
    ("insert into berths values (2, $1)", ("\0",), Invalid, "UNSTORABLE_TEXT"),
    ("select $1::jsonb", ("\0",), Invalid, "UNSTORABLE_TEXT"),
    ("insert into berths values ($1, '')", (2**40,), Internal, "DATABASE_ERROR"),  # the driver itself refuses it
    ("insert into berths values (2, $1)", (7,), Internal, "DATABASE_ERROR"),
    ("insert into berths values (2, null)", (), Internal, "DATABASE_ERROR"),
    ("select 1 / 0", (), Internal, "DATABASE_ERROR"),
    ("selec", (), Internal, "DATABASE_ERROR"),
    ("set statement_timeout = 10; select pg_sleep(5)", (), DeadlineExpired, "DATABASE_TIMEOUT"),
    ("set lock_timeout = 10; select pg_advisory_xact_lock(7)", (), Unavailable, "DATABASE_CONTENTION"),
    ("set transaction_read_only = on; create table x ()", (), Unavailable, "DATABASE_UNAVAILABLE"),
    ("do $$ begin raise 'no room' using errcode = 'disk_full'; end $$", (), Unavailable, "DATABASE_FULL"),
]


async def test_an_error_of_a_statement_is_what_it_means_to_the_caller(pool: asyncpg.Pool):
    await pool.execute("create table berths (number int primary key, ship text not null)")
    await pool.execute("insert into berths values (1, 'Ada')")
    got: list[Case] = []
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("select pg_advisory_xact_lock(7)")
        for statement, arguments, _, _ in CASES:
            error = await outcome(pool, statement, *arguments)
            assert error is not None
            assert error.__cause__ is not None
            got.append((statement, arguments, type(error), error.reason))
    assert got == CASES


@pytest.mark.parametrize("state", ["XX000", "42501"])  # more than a quota or a file may hold; a disk that became read-only
def test_a_disk_that_takes_no_more_is_full_whatever_the_server_calls_it(state: str):
    told = {"S": "ERROR", "C": state, "M": 'could not extend file "base/16392/16825": File too large', "F": "md.c", "R": "mdzeroextend"}
    with pytest.raises(Unavailable) as caught, translating():
        raise asyncpg.PostgresError.new(told)
    assert caught.value.reason == "DATABASE_FULL"
    with pytest.raises(Internal), translating():
        raise asyncpg.PostgresError.new(told | {"F": "aclchk.c"})


async def test_transactions_that_meet_may_try_again(pool: asyncpg.Pool):
    await pool.execute("create table tide (level int)")
    await pool.execute("insert into tide values (0)")
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        assert await connection.fetchval("select level from tide") == 0
        await pool.execute("update tide set level = 1")
        error = await outcome(connection, "update tide set level = 2")
    assert error is not None
    assert (type(error), error.reason, error.retryable) == (Unavailable, "DATABASE_CONTENTION", True)


async def once(pool: asyncpg.Pool | asyncpg.Connection, question: str) -> None:
    """Ask until the answer is true."""
    async with asyncio.timeout(SOON):
        while not await pool.fetchval(question):
            pass


async def test_a_session_that_the_server_ends_is_unavailable_and_the_pool_recovers(pool: asyncpg.Pool, postgres_superuser_dsn: str):
    ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like 'select pg_sleep(60)%'"
    superuser = await asyncpg.connect(postgres_superuser_dsn)
    async with asyncio.TaskGroup() as group:
        cut = group.create_task(outcome(pool, "select pg_sleep(60) -- until it is ended"))
        await once(superuser, ended)
    await superuser.close()
    error = cut.result()
    assert error is not None
    assert (type(error), error.reason) == (Unavailable, "DATABASE_UNAVAILABLE")
    assert await pool.fetchval("select 1") == 1


async def test_a_server_that_goes_away_is_unavailable_and_the_pool_recovers(postgres_dsn: str):
    async with relaying(postgres_dsn) as relay, open_pool(settings(relay.url), SCHEMA) as pool:
        assert await pool.fetchval("select 1") == 1
        await relay.close()
        for _ in range(2):  # once on the connection that was cut, once on none
            error = await outcome(pool, "select 1")
            assert error is not None
            assert error.reason == "DATABASE_UNAVAILABLE"
        await relay.open()
        assert await pool.fetchval("select 1") == 1


async def test_a_server_that_hangs_costs_no_more_than_the_cap_of_a_statement(postgres_dsn: str):
    async with relaying(postgres_dsn) as relay, open_pool(settings(relay.url, statement_cap_s=0.2), SCHEMA) as pool:
        await pool.fetchval("select 1")
        relay.hold()
        async with asyncio.timeout(SOON):
            assert isinstance(await outcome(pool, "select 1"), DeadlineExpired)
        relay.release()


async def test_errors_of_ours_pass_as_they_are():
    with pytest.raises(Conflict) as caught, translating():
        raise Conflict("the berth is taken", reason="BERTH_TAKEN")
    assert caught.value.reason == "BERTH_TAKEN"


# --- migrations --------------------------------------------------------------------------------------------------------------


class Chart:
    """Migration files of a package that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "migrations"
        self.folder.mkdir()
        self.set = MigrationSet("harbour", folder.name)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chart]:
    folder = tmp_path / f"chart_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield Chart(folder)
    sys.modules.pop(folder.name, None)


async def numbers(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch("select number from schema_migrations where component = 'harbour' order by number")
    return [row["number"] for row in rows]


async def test_migrations_run_once_in_the_order_of_their_numbers(pool: asyncpg.Pool, chart: Chart):
    chart.write("0002_more.sql", "alter table berths add column ship text;")
    chart.write("0001_berths.sql", "create table berths (number int);\ncreate index on berths (number);")
    await migrate(pool, SCHEMA, [chart.set])
    chart.write("0003_seed.sql", "insert into berths values (1, 'Ada');")
    await migrate(pool, SCHEMA, [chart.set])
    await migrate(pool, SCHEMA, [chart.set])
    assert await numbers(pool) == [1, 2, 3]
    assert await pool.fetchval(f"select count(*) from {SCHEMA}.berths") == 1


async def test_sets_count_by_themselves(pool: asyncpg.Pool, chart: Chart):
    chart.write("0001_berths.sql", "create table berths (number int);")
    await migrate(pool, SCHEMA, [chart.set, MigrationSet("outbox", "plimsoll_runtime", "outbox_migrations")])
    assert await numbers(pool) == [1]
    assert await pool.fetchval("select count(*) from outbox") == 0


async def test_replicas_that_start_together_run_each_migration_once(postgres_dsn: str, chart: Chart):
    chart.write("0001_berths.sql", "create table berths (number int); select pg_sleep(0.1);")
    chart.write("0002_seed.sql", "insert into berths values (1);")

    async def replica() -> int:
        async with open_pool(settings(postgres_dsn), SCHEMA) as pool:
            await migrate(pool, SCHEMA, [chart.set])
            return int(await pool.fetchval("select count(*) from berths"))

    async with asyncio.TaskGroup() as group:
        replicas = [group.create_task(replica()) for _ in range(4)]
    assert [replica.result() for replica in replicas] == [1, 1, 1, 1]


async def test_a_file_that_ran_and_was_changed_is_refused(pool: asyncpg.Pool, chart: Chart):
    chart.write("0001_berths.sql", "create table berths (number int);")
    await migrate(pool, SCHEMA, [chart.set])
    chart.write("0001_berths.sql", "create table berths (number bigint);")
    chart.write("0002_more.sql", "create table more ();")
    with pytest.raises(MigrationChanged, match=r"harbour/0001_berths\.sql differs"):
        await migrate(pool, SCHEMA, [chart.set])
    assert await numbers(pool) == [1]


@pytest.mark.parametrize("late", ["0001_late.sql", "0002_other.sql", "first.sql"])
async def test_a_file_out_of_its_place_is_refused(pool: asyncpg.Pool, chart: Chart, late: str):
    chart.write("0002_berths.sql", "create table berths (number int);")
    await migrate(pool, SCHEMA, [chart.set])
    chart.write(late, "drop table berths;")
    with pytest.raises(MigrationMisplaced, match=late.replace(".", r"\.") if late != "0002_other.sql" else "0002_"):
        await migrate(pool, SCHEMA, [chart.set])
    assert await pool.fetchval("select count(*) from berths") == 0


async def test_a_replica_of_the_release_before_starts_on_tables_that_are_ahead(pool: asyncpg.Pool, chart: Chart):
    chart.write("0001_berths.sql", "create table berths (number int);")
    chart.write("0002_more.sql", "alter table berths add column ship text;")
    await migrate(pool, SCHEMA, [chart.set])
    (chart.folder / "0002_more.sql").unlink()
    await migrate(pool, SCHEMA, [chart.set])
    assert await numbers(pool) == [1, 2]


async def test_a_migration_that_fails_leaves_nothing_and_names_its_file(pool: asyncpg.Pool, chart: Chart):
    chart.write("0001_berths.sql", "create table berths (number int);")
    chart.write("0002_broken.sql", "create table piers (); insert into berths values ('many');")
    with pytest.raises(MigrationFailed, match=r'harbour/0002_broken\.sql: invalid input syntax for type integer: "many"'):
        await migrate(pool, SCHEMA, [chart.set])
    assert await numbers(pool) == [1]
    assert await pool.fetchval("select to_regclass('piers')") is None
    chart.write("0002_broken.sql", "create table piers ();")
    await migrate(pool, SCHEMA, [chart.set])  # and the lock was given back
    assert await numbers(pool) == [1, 2]


async def test_a_migration_cut_off_leaves_nothing_and_is_worth_another_try(postgres_dsn: str, chart: Chart, pool: asyncpg.Pool):
    chart.write("0001_berths.sql", "create table berths (number int); select pg_sleep(60);")
    async with relaying(postgres_dsn) as relay, open_pool(settings(relay.url), SCHEMA) as cut:

        async def replica() -> PlimsollError | None:
            try:
                await migrate(cut, SCHEMA, [chart.set])
            except PlimsollError as error:
                return error
            return None

        async with asyncio.TaskGroup() as group:
            migrating = group.create_task(replica())
            await once(pool, "select count(*) > 0 from pg_stat_activity where query like 'create table berths%' and wait_event = 'PgSleep'")
            await relay.close()
        await relay.open()
    assert isinstance(migrating.result(), Unavailable)
    assert await pool.fetchval(f"select to_regclass('{SCHEMA}.berths')") is None


async def test_a_connection_that_cannot_unlock_is_cut_off_and_its_lock_with_it(postgres_dsn: str):
    """A session's lock never goes back into the pool, where nobody would let go of it."""
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn), pool_max=2), "public") as pool:
        async with pool.acquire() as locking:
            await locking.execute("select pg_advisory_lock(7, hashtext('mine'))")
            await unlock(locking, 7, "mine")
            assert await locking.fetchval("select 1") == 1
            await locking.execute("select pg_advisory_lock(7, hashtext('mine'))")
            await unlock(locking, 7, "another name")  # as when the answer is not the one we wait for

        async def free() -> bool:
            return bool(await pool.fetchval("select pg_try_advisory_lock(7, hashtext('mine'))"))

        await eventually(free)
