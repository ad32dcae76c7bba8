"""PostgreSQL: the pool, numbered migrations, and its errors as ours."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import orjson

from plimsoll_runtime.errors import Conflict, DeadlineExpired, Internal, PlimsollError, Unavailable
from plimsoll_runtime.settings import PostgresSettings

_ACQUIRE_CAP_S = 10.0
_MIGRATION_CAP_S = 120.0
_LOCK_SPACE = 0x706C696D  # "plim": keeps our advisory locks apart from others in the same database


class MigrationChanged(Internal):
    """A migration that ran before has another text now."""

    reason = "MIGRATION_CHANGED"


@dataclass(frozen=True, slots=True)
class MigrationSet:
    """Numbered files `NNNN_name.sql` in a package's folder; a set counts by itself."""

    name: str
    package: str
    folder: str = "migrations"


@asynccontextmanager
async def open_pool(settings: PostgresSettings, schema: str, *, application: str = "plimsoll") -> AsyncIterator[asyncpg.Pool]:
    """A pool whose connections see only `schema` and speak JSON. Raises Unavailable when the server cannot be reached."""
    with translating():
        pool = await asyncpg.create_pool(
            settings.dsn.reveal(),
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            command_timeout=settings.statement_cap_s,
            timeout=_ACQUIRE_CAP_S,
            init=_speak_json,
            server_settings={"search_path": f"{schema},public", "application_name": application, "jit": "off"},
        )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def migrate(pool: asyncpg.Pool, schema: str, sets: Sequence[MigrationSet]) -> None:
    """Bring `schema` up to date, each file in its own transaction, forward only.

    Safe when replicas start together: the first to take the lock works, the others find nothing left to do.
    Raises MigrationChanged when a file that ran differs from the one at hand.
    """
    with translating():
        async with pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
            await connection.execute("select pg_advisory_lock($1, hashtext($2))", _LOCK_SPACE, schema, timeout=_MIGRATION_CAP_S)
            try:
                if (
                    await connection.fetchval("select to_regnamespace($1)", schema) is None
                ):  # a role that owns its schema need not create any
                    await connection.execute(f'create schema "{schema}"')
                await connection.execute(
                    "create table if not exists schema_migrations (component text, number int, name text not null, digest text not null,"
                    " applied_at timestamptz not null default now(), primary key (component, number))"
                )
                for one in sets:
                    await _apply(connection, one)
            finally:
                await connection.execute("select pg_advisory_unlock($1, hashtext($2))", _LOCK_SPACE, schema)


async def ping(pool: asyncpg.Pool) -> None:
    """Raises Unavailable or DeadlineExpired when the database does not answer."""
    with translating():
        async with pool.acquire(timeout=2.0) as connection:
            await connection.fetchval("select 1", timeout=2.0)


@contextmanager
def translating() -> Iterator[None]:
    """Turn the driver's errors inside the block into ours: Unavailable, DeadlineExpired, Conflict or Internal."""
    try:
        yield
    except PlimsollError:
        raise
    except (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.CannotConnectNowError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.TooManyConnectionsError,
        asyncpg.InternalClientError,  # a statement on a session whose end has been received and not yet noticed
    ) as error:
        if isinstance(error, TimeoutError):
            raise DeadlineExpired("the database did not answer in time", reason="DATABASE_TIMEOUT") from error
        raise Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE", retry_after_s=1.0) from error
    except asyncpg.QueryCanceledError as error:
        raise DeadlineExpired("the database did not answer in time", reason="DATABASE_TIMEOUT") from error
    except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
        raise Unavailable("two transactions met; try again", reason="DATABASE_CONTENTION", retry_after_s=0.1) from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"already exists: {error.constraint_name}", reason="ALREADY_EXISTS") from error
    except asyncpg.PostgresError as error:
        raise Internal("the database refused a statement", reason="DATABASE_ERROR") from error


async def _speak_json(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=_encode, decoder=orjson.loads, schema="pg_catalog")


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


async def _apply(connection: asyncpg.Connection, one: MigrationSet) -> None:
    done = {
        row["number"]: row["digest"]
        for row in await connection.fetch("select number, digest from schema_migrations where component = $1", one.name)
    }
    folder = files(one.package) / one.folder
    for path in sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name):
        number, text = int(path.name.partition("_")[0]), path.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if number in done:
            if done[number] != digest:
                raise MigrationChanged(
                    f"{one.name}/{path.name} differs from the migration that ran", remedy="restore the file; write a new migration instead"
                )
            continue
        async with connection.transaction():
            await connection.execute(text, timeout=_MIGRATION_CAP_S)
            await connection.execute(
                "insert into schema_migrations (component, number, name, digest) values ($1, $2, $3, $4)",
                one.name,
                number,
                path.name,
                digest,
            )
