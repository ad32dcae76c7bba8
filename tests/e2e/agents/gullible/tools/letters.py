"""A post office: each letter is counted once, under the key of its call."""

import asyncpg
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext


async def setup(context: SetupContext) -> None:
    connection = await asyncpg.connect(context.credentials["examples_database"])
    try:
        await connection.execute("create table if not exists letters (call_key text primary key, body text not null)")
    finally:
        await connection.close()


async def post_letter(arguments: JsonObject, context: ToolContext) -> JsonValue:
    connection = await asyncpg.connect(context.credentials["examples_database"])
    try:
        await connection.execute("insert into letters values ($1, $2) on conflict do nothing", context.call_key, arguments["text"])
        return {"letters": await connection.fetchval("select count(*)::int from letters where body = $1", arguments["text"])}
    finally:
        await connection.close()
