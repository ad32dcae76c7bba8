"""What the database holds before any service comes: a role and a schema for each, and the examples' own database."""

import asyncpg

from plimsoll_devstack.names import SERVICES
from plimsoll_devstack.servers.postgres import DATABASE, SUPERUSER, PostgresServer

EXAMPLES = "examples"
"""Role and database of the example agents' tools."""

READER = "examples_reader"
"""Reads the examples' database and can do nothing else: the role of the tool that runs queries."""

ROLES = (*SERVICES, EXAMPLES, READER)


async def provision(server: PostgresServer) -> None:
    """Create what is missing and set the passwords; harmless to repeat."""
    connection = await asyncpg.connect(server.dsn(SUPERUSER, database="postgres"), timeout=10)
    try:
        known = {row["name"] for row in await connection.fetch("select rolname as name from pg_roles")}
        for role in ROLES:
            verb = "alter" if role in known else "create"
            await connection.execute(f"{verb} role {role} with login password '{server.passwords[role]}'")
        databases = {row["name"] for row in await connection.fetch("select datname as name from pg_database")}
        if DATABASE not in databases:
            await connection.execute(f"create database {DATABASE}")
        if EXAMPLES not in databases:
            await connection.execute(f"create database {EXAMPLES} owner {EXAMPLES}")
        for database, owner in ((DATABASE, SUPERUSER), (EXAMPLES, EXAMPLES)):
            await connection.execute(f"revoke all on database {database} from public")
            await connection.execute(f"grant all on database {database} to {owner}")
        await connection.execute(f"grant connect on database {DATABASE} to {', '.join(SERVICES)}")
        await connection.execute(f"grant connect on database {EXAMPLES} to {READER}")
        await connection.execute(f"grant pg_read_all_data to {READER}")
        await connection.execute(f"alter role {READER} set default_transaction_read_only = on")
    finally:
        await connection.close()
    await _schemas(server)


async def equip(connection: asyncpg.Connection) -> None:
    """Give a database what only a superuser can give, and services rely on."""
    await connection.execute("create extension if not exists vector")  # in public, which every role may use and none may fill
    # Row-level security lets an index serve only operators that reveal nothing of rows they skip. Text search (@@) is not marked
    # as such, though it raises no error and says nothing beyond its answer; unmarked, every search would read all of a tenant's text.
    await connection.execute("alter function pg_catalog.ts_match_vq(tsvector, tsquery) leakproof")


async def _schemas(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn(SUPERUSER), timeout=10)
    try:
        async with connection.transaction():
            await equip(connection)
            for service in SERVICES:
                await connection.execute(f"create schema if not exists {service} authorization {service}")
                await connection.execute(f"alter role {service} in database {DATABASE} set search_path = {service}, public")
    finally:
        await connection.close()
