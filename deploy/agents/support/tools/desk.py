"""Owns the service desk's side of the support agent: tickets for people."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import asyncpg
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolUnavailable

CONNECT_S = 3.0
SETUP_LOCK = 5_303_202  # any number nobody else uses: two workers must not create the schema at once
NO_ANSWER = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.TooManyConnectionsError)
HOURS_TO_ANSWER = {"high": 4, "normal": 24, "low": 48}

# The first insert wins; a repeat of the same call finds the ticket that it opened before.
OPEN_SQL = """
insert into tarnbrook_desk.tickets (tenant, ticket_id, call_key, subject, message, urgency, customer_id, note, answer_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(hours => $9))
on conflict (tenant, call_key) do update set call_key = excluded.call_key
returning ticket_id, answer_by"""


def ticket_id(tenant: str, call_key: str) -> str:
    """The number of the ticket that a call opens: the same call, the same number."""
    return "TCK-" + hashlib.sha256(f"{tenant}:{call_key}".encode()).hexdigest()[:10].upper()


async def _connect(credentials: Mapping[str, str], timeout_s: float) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(credentials["examples_database"], timeout=CONNECT_S, command_timeout=timeout_s)
    except NO_ANSWER as error:
        raise ToolUnavailable("DESK_UNREACHABLE", "The service desk's database does not answer.", retry_after_s=1.0) from error


async def setup(context: SetupContext) -> None:
    """Creates the desk's table when it is missing."""
    connection = await _connect(context.credentials, 20.0)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", SETUP_LOCK)
            await connection.execute(Path(__file__).with_name("desk.sql").read_text(encoding="utf-8"))
    finally:
        await connection.close()


async def open_ticket(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """A ticket for a person, opened once per call key."""
    urgency = str(arguments["urgency"])
    words = [arguments[name] for name in ("subject", "message", "urgency", "customer_id", "note")]
    number = ticket_id(context.tenant, context.call_key)
    connection = await _connect(context.credentials, context.deadline_s)
    try:
        row = await connection.fetchrow(OPEN_SQL, context.tenant, number, context.call_key, *words, HOURS_TO_ANSWER[urgency])
    finally:
        await connection.close()
    answer_by: datetime = row["answer_by"]
    return {"ticket_id": row["ticket_id"], "answer_by": answer_by.isoformat()}
