"""The cells of the effect table in which the dispatcher is killed: real processes, SIGKILL, real servers."""

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest
from plimsoll.common.v1 import failure_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.waiting import eventually
from tool_dispatcher_crashing import Process, dispatcher
from tool_dispatcher_running import EFFECTS

pytestmark = pytest.mark.crash


LONG_S = 8.0  # no machine stands still for so long, and a quarter of it is soon over
LEASE = "select lease_until from calls where call_key = 'key_1'"


async def longer(ledger: asyncpg.Pool, than: datetime) -> bool:
    until: datetime = await ledger.fetchval(LEASE)
    return until > than


def acted(note: Path) -> list[str]:
    return note.read_text().splitlines() if note.exists() else []


async def killed_in_flight(effect: str, postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, note: Path) -> None:
    """A dispatcher dies while its call is in the tool; the tool's process dies with it."""
    (note.parent / "hold").touch()
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as first:
        asked = asyncio.get_running_loop().create_task(first.client.dispatch(f"act_{effect}", {"note": str(note)}))
        await eventually(lambda: acted(note))
        [worker] = first.children()
        await first.kill()
        await asyncio.wait([asked])
        assert isinstance(asked.exception(), PlimsollError)
        await eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    (note.parent / "hold").unlink()


@pytest.mark.parametrize("effect", ["read_only", "idempotent", "keyed"])
async def test_dispatcher_killed_in_flight_runs_again_with_the_same_key(
    effect: str, postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    await killed_in_flight(effect, postgres_dsn, nats_url, redis_url, tools, note)
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as second:
        response = await second.client.dispatch(f"act_{effect}", {"note": str(note)}, epoch=2)
        assert (response.result.text, response.recorded) == ('{"acted":"key_1"}', False)
    assert acted(note) == ["acted key_1", "acted key_1"]


async def test_dispatcher_killed_in_flight_is_unknown_for_non_idempotent_and_never_repeated(
    postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    await killed_in_flight("non_idempotent", postgres_dsn, nats_url, redis_url, tools, note)
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as second:
        for _ in range(2):
            response = await second.client.dispatch("act_non_idempotent", {"note": str(note)}, epoch=2)
            assert (response.failure.category, response.failure.reason) == (failure_pb2.FAILURE_CATEGORY_OUTCOME_UNKNOWN, "DISPATCHER_LOST")
            assert response.recorded
    assert acted(note) == ["acted key_1"]


@pytest.mark.parametrize("effect", EFFECTS)
async def test_x01_a_dispatcher_killed_before_it_sent_has_acted_once_after_recovery(
    effect: str, postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    """Each call waits behind another one of its tool, which takes one at a time: reserved, if it is of those that are, and not sent."""
    narrow, note, hold = tools / "acts.yaml", tmp_path / "note", tmp_path / "hold"
    narrow.write_text(narrow.read_text().replace("timeout: 30s", "timeout: 30s\n    concurrency: 1"))
    hold.touch()
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as first, open_ledger(postgres_dsn) as ledger:
        asked = [ask(first, effect, note, "key_1")]
        await eventually(lambda: acted(note))
        asked.append(ask(first, effect, note, "key_2"))
        if effect != "read_only":
            await eventually(lambda: ledger.fetchval("select count(*) = 1 from calls where call_key = 'key_2' and state = 'reserved'"))
        await first.kill()
        await asyncio.wait(asked)
        assert all(isinstance(one.exception(), PlimsollError) for one in asked)
    hold.unlink()
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as second:
        for recorded in (False, True):
            response = await second.client.dispatch(f"act_{effect}", {"note": str(note)}, key="key_2", epoch=2)
            assert (response.result.text, response.recorded) == ('{"acted":"key_2"}', recorded)
    assert acted(note) == ["acted key_1", "acted key_2"]


def ask(one: Process, effect: str, note: Path, key: str) -> "asyncio.Task[pb.DispatchResponse]":
    return asyncio.get_running_loop().create_task(one.client.dispatch(f"act_{effect}", {"note": str(note)}, key=key))


def open_ledger(postgres_dsn: str) -> AbstractAsyncContextManager[asyncpg.Pool]:
    return open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "tool_dispatcher")


async def test_a_repeat_while_the_owner_lives_waits_and_takes_over_when_it_dies(
    postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    note, hold = tmp_path / "note", tmp_path / "hold"
    hold.touch()
    async with (
        dispatcher(postgres_dsn, nats_url, redis_url, tools, lease_s=LONG_S) as first,
        dispatcher(postgres_dsn, nats_url, redis_url, tools, lease_s=LONG_S) as second,
        open_ledger(postgres_dsn) as ledger,
    ):
        loop = asyncio.get_running_loop()
        asked = loop.create_task(first.client.dispatch("act_keyed", {"note": str(note)}))
        await eventually(lambda: acted(note))
        waiting = loop.create_task(second.client.dispatch("act_keyed", {"note": str(note)}, epoch=2))
        for _ in range(2):  # it is renewed, again and again
            lease = await ledger.fetchval(LEASE)
            await eventually(partial(longer, ledger, lease))
        assert (waiting.done(), acted(note)) == (False, ["acted key_1"])
        hold.unlink()
        await first.kill()
        await ledger.execute("update calls set lease_until = now()")  # as if it had run out
        response = await waiting
        assert (response.result.text, response.recorded) == ('{"acted":"key_1"}', False)
        await asyncio.wait([asked])
        asked.exception()
    assert acted(note) == ["acted key_1", "acted key_1"]


async def test_a_worker_process_killed_in_mid_call_is_an_attempt_and_not_the_end(
    postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    note, hold = tmp_path / "note", tmp_path / "hold"
    hold.touch()
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as one:
        asked = asyncio.get_running_loop().create_task(one.client.dispatch("act_keyed", {"note": str(note)}))
        await eventually(lambda: acted(note))
        hold.unlink()
        [worker] = one.children()
        worker.kill()
        response = await asked
        assert (response.result.text, response.attempts) == ('{"acted":"key_1"}', 2)


async def test_a_dispatcher_told_to_stop_leaves_nothing_behind(
    postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, tmp_path: Path
) -> None:
    async with dispatcher(postgres_dsn, nats_url, redis_url, tools) as one:
        await one.client.dispatch("act_keyed", {"note": str(tmp_path / "note")})
        [worker] = one.children()
        os.kill(one.pid, signal.SIGTERM)
        await eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        await eventually(
            lambda: psutil.Process(one.pid).status() == psutil.STATUS_ZOMBIE if psutil.pid_exists(one.pid) else True, within_s=10
        )


async def test_worker_processes_start_safely_beside_a_busy_grpc_server(
    postgres_dsn: str, nats_url: str, redis_url: str, tmp_path: Path
) -> None:
    for number in range(12):
        declaration = (
            f'category: echo{number}\ntools:\n  - {{name: echo_{number}, version: "1", description: Echoes, arguments: {{type: object}}, '
            "result: {}, effect: read_only, risk: low, timeout: 10s}\n"
        )
        (tmp_path / f"echo{number}.yaml").write_text(declaration)
        (tmp_path / f"echo{number}.py").write_text(f"async def echo_{number}(arguments, context): return arguments\n")
    async with dispatcher(postgres_dsn, nats_url, redis_url, tmp_path) as one:
        answers = [await one.client.dispatch(f"echo_{number}", {}, key=f"key_{number}") for number in range(12)]
    assert [(answer.result.text, answer.attempts) for answer in answers] == [("{}", 1)] * 12
