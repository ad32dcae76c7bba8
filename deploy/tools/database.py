"""A PostgreSQL database: one statement at a time, read by a role and a transaction that cannot write, or written exactly as announced."""

import base64
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

import asyncpg
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable

Arguments: TypeAlias = "dict[str, JsonValue]"

MAX_TABLES = 300
MAX_CELL_CHARS = 20_000
_WRITES = re.compile(r"(?:INSERT 0|UPDATE|DELETE|MERGE) ([0-9]+)")
_SAFE_INTEGER = 2**63

_FROM_TEXT: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "unknown", "json", "jsonb"), str),
    "uuid": UUID,
    "date": date.fromisoformat,
    **dict.fromkeys(("timestamp", "timestamptz"), datetime.fromisoformat),
    **dict.fromkeys(("time", "timetz"), time.fromisoformat),
    "bytea": base64.b64decode,
}
_TABLES = """
select format('%I.%I', n.nspname, c.relname) as name,
       array_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)) order by a.attnum) as columns
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
  and has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage') and strpos(lower(c.relname), lower($1)) > 0
group by 1 order by 1 limit $2
"""
_TOO_STRONG = "select rolsuper or pg_has_role(oid, 'pg_read_server_files', 'member') or pg_has_role(oid, 'pg_execute_server_program', 'member') from pg_roles where rolname = current_user"


async def sql_tables(arguments: Arguments, context: ToolContext) -> JsonValue:
    """The tables that can be read."""
    async with _reading(context) as connection:
        found = await connection.fetch(_TABLES, str(arguments["name"]), MAX_TABLES)
    return {"tables": [{"name": row["name"], "columns": list(row["columns"])} for row in found]}


async def sql_query(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Rows of one statement; more than the wanted ones are not even fetched."""
    wanted = int(str(arguments["rows"]))
    async with _reading(context) as connection:
        statement = await connection.prepare(str(arguments["statement"]))
        cursor = await statement.cursor(*_parameters(statement, arguments["parameters"]))
        rows = await cursor.fetch(wanted + 1)
        columns = [attribute.name for attribute in statement.get_attributes()]
    return {"columns": columns, "rows": [[_plain(value) for value in row.values()] for row in rows[:wanted]], "more": len(rows) > wanted}


async def sql_write(arguments: Arguments, context: ToolContext) -> JsonValue:
    """One change, undone unless it touches as many rows as expected."""
    expected = int(str(arguments["expected_rows"]))
    async with _connected(context, "sql_write_database", readonly=False) as connection:
        statement = await connection.prepare(str(arguments["statement"]))
        await statement.fetch(*_parameters(statement, arguments["parameters"]))
        done = _WRITES.fullmatch(statement.get_statusmsg() or "")
        if done is None:
            raise ToolRejected("NOT_A_WRITE", "only INSERT, UPDATE, DELETE and MERGE are allowed; nothing was changed")
        if int(done[1]) != expected:
            raise ToolRejected("ROWS_DIFFER", f"the statement touches {done[1]} rows and not {expected}; nothing was changed")
    return {"rows": expected}


@asynccontextmanager
async def _reading(context: ToolContext) -> AsyncIterator[asyncpg.Connection]:
    """Raises ToolRejected when the role could do more than read: a list of tables would be no protection then."""
    async with _connected(context, "sql_read_database", readonly=True) as connection:
        yield connection


@asynccontextmanager
async def _connected(context: ToolContext, name: str, *, readonly: bool) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that ends with the block; what raises leaves nothing changed."""
    try:
        connection = await asyncpg.connect(context.credentials[name], timeout=min(10.0, context.deadline_s), statement_cache_size=0)
    except (TimeoutError, OSError, asyncpg.PostgresError) as error:
        raise ToolUnavailable("DATABASE_AWAY", "the database cannot be reached") from error
    try:
        if await connection.fetchval(_TOO_STRONG):
            raise ToolRejected("ROLE_TOO_STRONG", "the role of the credential can do far more than this tool may; give it one of its own")
        with _told():
            async with connection.transaction(isolation="repeatable_read" if readonly else "read_committed", readonly=readonly):
                patience_ms = max(100, int((context.deadline_s - 1) * 1000))
                await connection.execute(f"set local statement_timeout = {patience_ms}; set local lock_timeout = {min(5000, patience_ms)}")
                yield connection
    finally:
        if connection.is_in_transaction():
            connection.terminate()
        else:
            await connection.close(timeout=2)


@contextmanager
def _told() -> Iterator[None]:
    """Postgres' own refusals as the tool's: they say what is wrong with the statement, and that nothing changed."""
    try:
        yield
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        raise ToolRejected("TOO_SLOW", "the statement took too long; nothing was changed") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise ToolRejected("READ_ONLY", "the statement would change something; use sql_write") from error
    except asyncpg.PostgresConnectionError as error:
        raise ConnectionError(type(error).__name__) from error
    except ValueError as error:  # before it was sent
        raise ToolRejected("WRONG_PARAMETERS", "a value does not fit the type of its parameter") from error
    except asyncpg.PostgresError as error:
        if error.sqlstate == asyncpg.DataError.sqlstate:  # the driver's own, before it was sent
            raise ToolRejected("WRONG_PARAMETERS", "a value does not fit the type of its parameter") from error
        raise ToolRejected("STATEMENT_REFUSED", f"the database refuses the statement: {_first_line(error)}") from error
    except asyncpg.InterfaceError as error:
        raise ConnectionError(type(error).__name__) from error


def _first_line(error: asyncpg.PostgresError) -> str:
    """What is wrong with the statement itself; other messages of Postgres quote values."""
    words = str(error).partition("\n")[0] if str(error.sqlstate).startswith("42") else type(error).__name__
    return f"{error.sqlstate}: {words}"[:300]


def _parameters(statement: asyncpg.prepared_stmt.PreparedStatement, given: JsonValue) -> Sequence[object]:
    """Values in the types that the statement wants: JSON has no dates and no decimals."""
    values = given if isinstance(given, list) else []
    wanted = statement.get_parameters()
    if len(wanted) != len(values):
        raise ToolRejected("WRONG_PARAMETERS", f"the statement has {len(wanted)} parameters, and {len(values)} values were given")
    return [_fitted(value, kind.name, f"${at}") for at, (value, kind) in enumerate(zip(values, wanted, strict=True), 1)]


def _fitted(value: JsonValue, kind: str, where: str) -> object:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in {"int2", "int4", "int8", "oid"} and number and isinstance(value, int):
        return value
    if kind in {"float4", "float8"} and number:
        return float(str(value))
    try:
        if kind == "numeric" and (number or isinstance(value, str)):
            return Decimal(str(value))
        if isinstance(value, str) and kind in _FROM_TEXT:
            return _FROM_TEXT[kind](value)
    except (ValueError, ArithmeticError) as error:
        raise ToolRejected("WRONG_PARAMETERS", f"{where} does not fit the type {kind}") from error
    raise ToolRejected("WRONG_PARAMETERS", f"{where} wants a value of the type {kind}; cast it in the statement, such as {where}::text")


def _plain(value: object) -> JsonValue:
    match value:
        case None | bool() | str():
            return value[:MAX_CELL_CHARS] if isinstance(value, str) else value
        case int():
            return value if -_SAFE_INTEGER <= value < _SAFE_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return base64.b64encode(value[:MAX_CELL_CHARS]).decode()
        case list() | tuple():
            return [_plain(item) for item in value]
        case Decimal():
            return str(value)
    return (value.isoformat() if hasattr(value, "isoformat") else str(value))[:MAX_CELL_CHARS]
