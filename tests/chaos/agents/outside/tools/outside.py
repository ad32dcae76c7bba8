"""The ledger outside: what tools really did, whatever the mesh says of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolUnavailable

_TABLES = """
create table if not exists counted (call_key text primary key, name text not null);
create table if not exists struck (call_key text not null, name text not null);
"""


async def setup(context: SetupContext) -> None:
    connection = await asyncpg.connect(context.credentials["examples_database"])
    try:
        await connection.execute(_TABLES)
    finally:
        await connection.close()


@asynccontextmanager
async def _ledger(context: ToolContext) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(context.credentials["examples_database"])
    except (asyncpg.PostgresError, OSError) as error:
        raise ToolUnavailable("LEDGER_AWAY", "the ledger cannot be reached") from error
    try:
        yield connection
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError) as error:
        raise ConnectionError("the answer was lost") from error  # whether it counted, nobody knows
    finally:
        await connection.close()


async def count_keyed(arguments: JsonObject, context: ToolContext) -> JsonValue:
    async with _ledger(context) as connection:
        await connection.execute("insert into counted values ($1, $2) on conflict do nothing", context.call_key, arguments["name"])
        return {"count": await connection.fetchval("select count(*) from counted where name = $1", arguments["name"])}


async def strike_once(arguments: JsonObject, context: ToolContext) -> JsonValue:
    async with _ledger(context) as connection:
        await connection.execute("insert into struck values ($1, $2)", context.call_key, arguments["name"])
        return {"struck": True}
