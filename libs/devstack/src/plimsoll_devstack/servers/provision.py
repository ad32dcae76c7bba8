"""What the database holds before any service comes: a role and a schema for each, and the examples' own database.

The same statements reach an embedded server from here, and any other as a script for psql.
"""

import asyncpg

from plimsoll_devstack.names import SERVICES
from plimsoll_devstack.servers.postgres import DATABASE, SUPERUSER, PostgresServer

EXAMPLES = "examples"
"""Role and database of the example agents' tools."""

READER = "examples_reader"
"""Reads the examples' database and can do nothing else: the role of the tool that runs queries."""

ROLES = (*SERVICES, EXAMPLES, READER)

_DATABASES = {DATABASE: "", EXAMPLES: f" owner {EXAMPLES}"}

_GRANTS = (
    f"revoke all on database {DATABASE} from public",
    f"revoke all on database {EXAMPLES} from public",
    f"grant all on database {EXAMPLES} to {EXAMPLES}",
    f"grant connect on database {DATABASE} to {', '.join(SERVICES)}",
    f"grant connect on database {EXAMPLES} to {READER}",
    f"grant pg_read_all_data to {READER}",
    f"alter role {READER} set default_transaction_read_only = on",
)

_EQUIPMENT = (
    "create extension if not exists vector",  # in public, which every role may use and none may fill
    # Row-level security lets an index serve only operators that reveal nothing of rows they skip. Text search (@@) is not marked
    # as such, though it raises no error and says nothing beyond its answer; unmarked, every search would read all of a tenant's text.
    "alter function pg_catalog.ts_match_vq(tsvector, tsquery) leakproof",
)

_SCHEMAS = tuple(
    statement
    for service in SERVICES
    for statement in (
        f"create schema if not exists {service} authorization {service}",
        f"alter role {service} in database {DATABASE} set search_path = {service}, public",
    )
)


async def provision(server: PostgresServer) -> None:
    """Create what is missing and set the passwords; harmless to repeat."""
    connection = await asyncpg.connect(server.dsn(SUPERUSER, database="postgres"), timeout=10)
    try:
        known = {row["name"] for row in await connection.fetch("select rolname as name from pg_roles")}
        for role in ROLES:
            verb = "alter" if role in known else "create"
            await connection.execute(f"{verb} role {role} with login password '{server.passwords[role]}'")
        databases = {row["name"] for row in await connection.fetch("select datname as name from pg_database")}
        for database, owner in _DATABASES.items():
            if database not in databases:
                await connection.execute(f"create database {database}{owner}")
        for statement in _GRANTS:
            await connection.execute(statement)
    finally:
        await connection.close()
    await _schemas(server)


async def equip(connection: asyncpg.Connection) -> None:
    """Give a database what only a superuser can give, and services rely on."""
    for statement in _EQUIPMENT:
        await connection.execute(statement)


async def _schemas(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn(SUPERUSER), timeout=10)
    try:
        async with connection.transaction():
            await equip(connection)
            for statement in _SCHEMAS:
                await connection.execute(statement)
    finally:
        await connection.close()


def script() -> str:
    """The same for psql, as a superuser of any server; reads the password of each role from a file `passwords/<role>` in /run/secrets."""
    lines = [r"\set ON_ERROR_STOP on", "set client_min_messages = warning;"]
    for role in ROLES:
        missing = f"where not exists (select from pg_roles where rolname = '{role}')"
        lines += [
            f"\\set {role} `cat /run/secrets/passwords/{role}`",
            f"select 'create role {role}' {missing} \\gexec",
            f"alter role {role} with login password :'{role}';",
        ]
    for database, owner in _DATABASES.items():
        missing = f"where not exists (select from pg_database where datname = '{database}')"
        lines.append(f"select 'create database {database}{owner}' {missing} \\gexec")
    lines += [f"{statement};" for statement in _GRANTS]
    lines += [f"\\connect {DATABASE}", "set client_min_messages = warning;", "begin;"]
    lines += [f"{statement};" for statement in (*_EQUIPMENT, *_SCHEMAS)]
    return "\n".join([*lines, "commit;", ""])
