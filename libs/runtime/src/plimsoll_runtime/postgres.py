"""PostgreSQL: the pool, numbered migrations, and its errors as ours."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.resources import files

import asyncpg
import orjson

from plimsoll_runtime.errors import Conflict, DeadlineExpired, FieldProblem, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.faults import are_possible
from plimsoll_runtime.faults.postgres import FaultyConnection
from plimsoll_runtime.settings import InvalidSettings, PostgresSettings

_IDLE_CAP = "10s"  # a process that stands still in the middle of a transaction must not hold its rows for ever
_ACQUIRE_CAP_S = 10.0
_PING_CAP_S = 2.0
_CLOSE_CAP_S = 5.0
_MIGRATION_CAP_S = 120.0
_LOCK_SPACE = 0x706C696D  # "plim": keeps our advisory locks apart from others in the same database
_MIGRATION_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
# A disk quota, a largest size of a file and a disk that became read-only have no SQLSTATE: only the place in the server tells them.
_NAMELESS, _FILE_ACCESS = frozenset({"XX000", "42501"}), frozenset({"md.c", "fd.c", "buffile.c"})
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class MigrationChanged(Internal):
    """A migration that ran before has another text now."""

    reason = "MIGRATION_CHANGED"


class MigrationMisplaced(Internal):
    """A migration has a number that is taken, or older than one that ran."""

    reason = "MIGRATION_MISPLACED"


class MigrationFailed(Internal):
    """The database refused a migration; nothing of it was kept."""

    reason = "MIGRATION_FAILED"


@dataclass(frozen=True, slots=True)
class MigrationSet:
    """Numbered files `NNNN_name.sql` in a package's folder; a set counts by itself."""

    name: str
    package: str
    folder: str = "migrations"


@asynccontextmanager
async def open_pool(settings: PostgresSettings, schema: str, *, application: str = "plimsoll") -> AsyncIterator[asyncpg.Pool]:
    """A pool whose connections see only `schema` and speak JSON.

    Raises Unavailable when the server cannot be reached or does not let us in, InvalidSettings when the URL makes no sense.
    """
    with translating():
        pool = await _connected(
            asyncpg.create_pool(
                settings.dsn.reveal(),
                min_size=settings.pool_min,
                max_size=settings.pool_max,
                command_timeout=settings.statement_cap_s,
                timeout=_ACQUIRE_CAP_S,
                init=_speak_json,
                connection_class=FaultyConnection if are_possible() else asyncpg.Connection,
                reset=_stay_with_a_primary,
                server_settings={
                    "search_path": f"{schema},public",
                    "application_name": application,
                    "jit": "off",
                    "idle_in_transaction_session_timeout": _IDLE_CAP,
                },
            )
        )
    try:
        yield pool
    finally:
        with suppress(*DRIVER_ERRORS):  # a timeout among them: the pool has then cut its connections off
            async with asyncio.timeout(_CLOSE_CAP_S):
                await pool.close()


async def migrate(pool: asyncpg.Pool, schema: str, sets: Sequence[MigrationSet]) -> None:
    """Bring `schema` up to date, each file in its own transaction, forward only.

    Safe when replicas start together: the first to take the lock works, the others find nothing left to do.
    Raises MigrationChanged, MigrationMisplaced or MigrationFailed, each naming the file.
    """
    with translating():
        async with pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, _alone(connection, schema):
            if await connection.fetchval("select to_regnamespace($1)", schema) is None:  # who owns its schema need not be able to make one
                await connection.execute(f'create schema "{schema}"')
            await connection.execute(
                "create table if not exists schema_migrations (component text, number int, name text not null, digest text not null,"
                " applied_at timestamptz not null default now(), primary key (component, number))"
            )
            for one in sets:
                await _apply(connection, one)


async def upgrade(settings: PostgresSettings, schema: str, sets: Sequence[MigrationSet]) -> None:
    """Bring `schema` up to date over a connection of its own: what a job before an upgrade does. Raises as `open_pool` and `migrate` do."""
    async with open_pool(replace(settings, pool_min=1, pool_max=1), schema, application=f"{schema}-migrations") as pool:
        await migrate(pool, schema, sets)


async def ping(pool: asyncpg.Pool) -> None:
    """Raises Unavailable or DeadlineExpired when the database does not answer. A pool that is fully used is busy, not away."""
    if pool.get_idle_size() == 0 and pool.get_size() == pool.get_max_size():
        return
    with translating():
        async with pool.acquire(timeout=_PING_CAP_S) as connection:
            await connection.fetchval("select 1", timeout=_PING_CAP_S)


@contextmanager
def translating() -> Iterator[None]:
    """Turn the driver's errors inside the block into ours: Unavailable, DeadlineExpired, Conflict, Invalid or Internal."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise _translated(error) from error


def _translated(error: Exception) -> PlimsollError:
    match error:
        case TimeoutError():
            return DeadlineExpired("the database did not answer in time", reason="DATABASE_TIMEOUT")
        case asyncpg.PostgresError():
            return _by_state(error)
        case ValueError():  # the driver's own: an argument that does not fit its column
            return Internal("the database refused a statement", reason="DATABASE_ERROR")
        case _:  # no connection, or one whose end has been received and not yet noticed
            return _away()


def _by_state(error: asyncpg.PostgresError) -> PlimsollError:
    """By the classes of SQLSTATE: what a wait mends, what the caller mends, and what is our fault."""
    state = error.sqlstate or ""
    if state == "53100" or (state in _NAMELESS and error.server_source_filename in _FILE_ACCESS):
        return Unavailable("the database's disk is full", reason="DATABASE_FULL", retry_after_s=5.0)
    if state.startswith(("08", "53", "57P", "58", "25006", "25P03", "40003")):  # gone, full, ending, or just not the primary
        return _away()
    if state.startswith(("28", "3D")):  # as long as nobody has made the role and the database
        return Unavailable("the database does not know this role, password or database", reason="DATABASE_REFUSED", retry_after_s=1.0)
    if state.startswith(("40", "55P03")) or isinstance(error, asyncpg.InvalidCachedStatementError):
        return Unavailable("two transactions met; try again", reason="DATABASE_CONTENTION", retry_after_s=0.1)
    match state:
        case "57014":
            return DeadlineExpired("the database did not answer in time", reason="DATABASE_TIMEOUT")
        case "23505":
            return Conflict(f"already exists: {error.constraint_name}", reason="ALREADY_EXISTS")
        case "22021" | "22P05":
            problem = FieldProblem("text", "holds the character U+0000", "leave it out: text is stored, and the store takes none")
            return Invalid(problems=(problem,), reason="UNSTORABLE_TEXT")
        case _:
            return Internal("the database refused a statement", reason="DATABASE_ERROR")


def _away() -> Unavailable:
    return Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE", retry_after_s=1.0)


async def _connected(pool: asyncpg.Pool) -> asyncpg.Pool:
    try:
        return await pool
    except ValueError as error:
        if isinstance(error, UnicodeError):  # a host name that is none
            raise _away() from error
        # Not `from error`: it quotes what it could not read, and that may be a part of the password.
        raise InvalidSettings("POSTGRES_DSN is not a URL that makes sense", remedy="escape @ : / ? # and % in the password") from None


async def _stay_with_a_primary(connection: asyncpg.Connection) -> None:
    """Cut off from a server that only reads by now, as it said itself: another one took over, and a new connection finds it.

    Nothing else is to be done when a connection goes back, which saves a round trip a use: what our statements set, they set for their
    transaction only, and the two places that lock for a session cut the connection off when they cannot unlock it.
    """
    said = connection.get_settings()
    if "on" in (getattr(said, "in_hot_standby", ""), getattr(said, "default_transaction_read_only", "")):  # a proxy may leave them out
        connection.terminate()


async def unlock(connection: asyncpg.Connection, space: int, name: str) -> None:
    """Let go of a session's advisory lock on a name; a connection that does not confirm it is cut off, and its lock with it."""
    try:
        released = await connection.fetchval("select pg_advisory_unlock($1, hashtext($2))", space, name)
    except DRIVER_ERRORS:
        released = False
    if not released:
        connection.terminate()


async def _speak_json(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=_encode, decoder=orjson.loads, schema="pg_catalog")


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


@asynccontextmanager
async def _alone(connection: asyncpg.Connection, schema: str) -> AsyncIterator[None]:
    await connection.execute("select pg_advisory_lock($1, hashtext($2))", _LOCK_SPACE, schema, timeout=_MIGRATION_CAP_S)
    try:
        yield
    finally:
        await unlock(connection, _LOCK_SPACE, schema)


@dataclass(frozen=True, slots=True)
class _Migration:
    number: int
    name: str
    text: str
    digest: str


def _read(one: MigrationSet) -> Sequence[_Migration]:
    """The files in the order of their numbers. Raises MigrationMisplaced for a name without one, or a number that two have."""
    found: dict[int, _Migration] = {}
    for path in sorted((files(one.package) / one.folder).iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".sql"):
            continue
        named = _MIGRATION_NAME.fullmatch(path.name)
        if named is None or int(named[1]) in found:
            raise MigrationMisplaced(
                f"{one.name}/{path.name} has no number of its own", remedy="name it NNNN_words.sql, with the next number"
            )
        text = path.read_text()
        number = int(named[1])
        found[number] = _Migration(number, path.name, text, hashlib.sha256(text.encode()).hexdigest())
    return [found[number] for number in sorted(found)]


async def _apply(connection: asyncpg.Connection, one: MigrationSet) -> None:
    rows = await connection.fetch("select number, digest from schema_migrations where component = $1", one.name)
    done = {row["number"]: row["digest"] for row in rows}
    for migration in _read(one):
        title = f"{one.name}/{migration.name}"
        if migration.number not in done:
            if migration.number < max(done, default=0):
                raise MigrationMisplaced(f"{title} comes before one that ran", remedy="give it the next number")
            await _run(connection, one, migration, title)
        elif done[migration.number] != migration.digest:
            raise MigrationChanged(f"{title} differs from the migration that ran", remedy="restore the file; write a new migration instead")


async def _run(connection: asyncpg.Connection, one: MigrationSet, migration: _Migration, title: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.text, timeout=_MIGRATION_CAP_S)
            await connection.execute(
                "insert into schema_migrations (component, number, name, digest) values ($1, $2, $3, $4)",
                one.name,
                migration.number,
                migration.name,
                migration.digest,
            )
    except asyncpg.PostgresError as error:
        if _by_state(error).retryable:
            raise
        raise MigrationFailed(f"{title}: {error}") from error
