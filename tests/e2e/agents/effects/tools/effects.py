"""A tool whose effects can be counted from outside."""

import asyncio

import asyncpg
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolUnavailable


async def setup(context: SetupContext) -> None:
    connection = await asyncpg.connect(context.credentials["examples_database"])
    try:
        await connection.execute("create table if not exists effects (call_key text primary key, name text not null, step int not null)")
    finally:
        await connection.close()


async def count_effect(arguments: JsonObject, context: ToolContext) -> JsonValue:
    try:
        connection = await asyncpg.connect(context.credentials["examples_database"])
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise ToolUnavailable("DATABASE_AWAY", "the database of the effects is away") from error
    try:
        await asyncio.sleep(float(str(arguments["pause_s"])))  # a slow upstream
        await connection.execute(
            "insert into effects (call_key, name, step) values ($1, $2, $3) on conflict do nothing",
            context.call_key,
            arguments["name"],
            arguments["step"],
        )
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        raise ConnectionError("the answer was lost") from error  # whether it counted, nobody knows
    finally:
        await connection.close()
    return {"step": arguments["step"]}
