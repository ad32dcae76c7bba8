"""A PostgreSQL database, read by a role that can do nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def database(postgres_dsn: str, credentials: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    credentials["sql_read_database"] = credentials["sql_write_database"] = postgres_dsn
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(
        "create schema shop; create table shop.orders (id int primary key, note text, price numeric, at timestamptz, data jsonb)"
    )
    await connection.execute(
        "insert into shop.orders select n, 'note ' || n, n * 1.5, '2026-01-01', '{\"a\": 1}' from generate_series(1, 10) n"
    )
    yield connection
    await connection.close()


async def test_rows_come_with_their_columns_as_json(call: Call, database: asyncpg.Connection) -> None:
    result = await call("sql_query", statement="select * from shop.orders where id = $1", parameters=[3])
    assert result == {
        "columns": ["id", "note", "price", "at", "data"],
        "rows": [[3, "note 3", "4.5", "2026-01-01T00:00:00+00:00", '{"a": 1}']],
        "more": False,
    }


async def test_more_rows_than_wanted_are_not_fetched(call: Call, database: asyncpg.Connection) -> None:
    result = await call("sql_query", statement="select generate_series(1, 1000000000) as n", rows=3)
    assert (result["rows"], result["more"]) == ([[1], [2], [3]], True)


async def test_tables_are_listed_with_their_columns(call: Call, database: asyncpg.Connection) -> None:
    tables = (await call("sql_tables", name="order"))["tables"]
    assert tables == [
        {"name": "shop.orders", "columns": ["id integer", "note text", "price numeric", "at timestamp with time zone", "data jsonb"]}
    ]


@pytest.mark.parametrize(
    "statement",
    [
        *(
            "insert into shop.orders (id) values (99)",
            "update shop.orders set note = 'x'",
            "delete from shop.orders",
            "drop table shop.orders",
        ),
        *("create table x (a int)", "truncate shop.orders", "with gone as (delete from shop.orders returning *) select * from gone"),
        *(
            "select 1; delete from shop.orders",
            "commit",
            "set transaction read write",
            "select set_config('transaction_read_only', 'off', false)",
        ),
        *(
            "copy shop.orders to program 'id'",
            "select pg_read_file('/etc/passwd')",
            "do $$ begin delete from shop.orders; end $$",
            "vacuum",
            "",
        ),
        *("select pg_sleep(100)", "selec 1", "select lo_import('/etc/passwd')", "select * from shop.orders for update"),
    ],
)
async def test_a_query_changes_nothing_whatever_it_says(call: Call, database: asyncpg.Connection, statement: str) -> None:
    with suppress(ToolRejected, ConnectionError):
        await call("sql_query", statement=statement or " ", deadline_s=3.0)
    assert await database.fetchval("select count(*) from shop.orders where note like 'note %'") == 10


async def test_a_function_cannot_open_the_transaction_for_itself(call: Call, database: asyncpg.Connection) -> None:
    await database.execute(
        "create function shop.sneak() returns int language plpgsql as $$ begin "
        "perform set_config('transaction_read_only', 'off', false); delete from shop.orders; return 1; end $$"
    )
    with pytest.raises(ToolRejected):
        await call("sql_query", statement="select shop.sneak()")
    assert await database.fetchval("select count(*) from shop.orders") == 10


async def test_a_role_that_could_do_everything_is_not_used(
    call: Call, database: asyncpg.Connection, credentials: dict[str, str], postgres_superuser_dsn: str
) -> None:
    credentials["sql_read_database"] = postgres_superuser_dsn
    with pytest.raises(ToolRejected, match="ROLE_TOO_STRONG"):
        await call("sql_query", statement="select 1")


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("select $1::int", []),
        ("select $1::int", ["one"]),
        ("select $1::int", [1, 2]),
        ("select $1::date", ["yesterday"]),
        ("select $1::uuid", ["x"]),
        ("select $1::int", [True]),
        ("select $1::int2", [100000]),
        ("select $1::int[]", ["{1}"]),
    ],
)
async def test_values_that_do_not_fit_are_told(call: Call, database: asyncpg.Connection, statement: str, parameters: list[Any]) -> None:
    with pytest.raises(ToolRejected, match="WRONG_PARAMETERS"):
        await call("sql_query", statement=statement, parameters=parameters)


async def test_values_travel_as_parameters_and_never_as_text(call: Call, database: asyncpg.Connection) -> None:
    evil = "'; drop table shop.orders; --"
    result = await call(
        "sql_query", statement="select $1 as said, $2::numeric, $3::date, $4::bool", parameters=[evil, 1.5, "2026-01-02", True]
    )
    assert result["rows"] == [[evil, "1.5", "2026-01-02", True]]


async def test_a_write_changes_exactly_what_was_announced(call: Call, database: asyncpg.Connection) -> None:
    assert await call("sql_write", statement="update shop.orders set note = $1 where id < 3", parameters=["x"], expected_rows=2) == {
        "rows": 2
    }
    assert await database.fetchval("select count(*) from shop.orders where note = 'x'") == 2


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("update shop.orders set note = 'x'", "ROWS_DIFFER"),
        ("delete from shop.orders", "ROWS_DIFFER"),
        ("drop table shop.orders", "NOT_A_WRITE"),
        ("truncate shop.orders", "NOT_A_WRITE"),
        ("select 1", "NOT_A_WRITE"),
        ("commit", "NOT_A_WRITE"),
        ("do $$ begin delete from shop.orders; end $$", "NOT_A_WRITE"),
        ("delete from shop.orders; select 1", "STATEMENT_REFUSED"),
        ("insert into shop.orders (id) values (1)", "STATEMENT_REFUSED"),
    ],
)
async def test_a_write_that_is_another_than_announced_changes_nothing(
    call: Call, database: asyncpg.Connection, statement: str, reason: str
) -> None:
    with pytest.raises(ToolRejected, match=reason):
        await call("sql_write", statement=statement, expected_rows=1)
    assert await database.fetchval("select count(*) from shop.orders where note like 'note %'") == 10


async def test_a_database_that_is_away_was_not_asked(call: Call, database: asyncpg.Connection, credentials: dict[str, str]) -> None:
    split = urlsplit(credentials["sql_read_database"])
    credentials["sql_read_database"] = credentials["sql_read_database"].replace(f":{split.port}/", ":1/")
    with pytest.raises(ToolUnavailable):
        await call("sql_query", statement="select 1")
