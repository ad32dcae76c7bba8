"""Attacks on two live replicas: a Redis that is emptied while calls are in flight, and one grant shown to both at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.config import Settings
from redis.asyncio import Redis
from tool_dispatcher_running import EFFECTS, Client, running

Replicas: TypeAlias = tuple[Client, Client]

PATIENT_S = 60.0
FAILURES = BreakerPolicy().failures
HELD = """
import asyncio
from pathlib import Path

async def _hold(arguments, context):
    note = Path(arguments["note"])
    with note.open("a") as acted:
        acted.write(context.call_key + "\\n")
    while note.with_name("hold").exists():
        await asyncio.sleep(0.01)
    return {"acted": context.call_key}

async def pass_the_limit(arguments, context): return {}
async def fall_down(arguments, context): raise ValueError
"""


def write_tools(directory: Path) -> None:
    """`hold_<class>` notes each execution and lasts while a file `hold` is there; one tool has a limit, and one always fails."""
    common = 'version: "1", description: Is attacked, arguments: {type: object}, result: {}, risk: low, timeout: 60s, retry: {attempts: 1}'
    lines = [f"  - {{name: hold_{effect}, effect: {effect}, {common}}}" for effect in EFFECTS]
    lines += [
        f"  - {{name: pass_the_limit, effect: keyed, {common}, upstream: limited, limits: {{all: {{count: 3, per: 3600s}}}}}}",
        f"  - {{name: fall_down, effect: keyed, {common}, upstream: fallen}}",
    ]
    (directory / "attacked.yaml").write_text("\n".join(["category: attacked", "tools:", *lines]))
    functions = [f"async def hold_{effect}(a, c): return await _hold(a, c)" for effect in EFFECTS]
    (directory / "attacked.py").write_text(HELD + "\n".join(functions))


@pytest.fixture
async def replicas(settings: Settings, tools: Path) -> AsyncIterator[Replicas]:
    write_tools(tools)
    async with running(settings) as one, running(settings) as two:
        yield one, two


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def until_told(client: Client, tool: str, reason: str) -> int:
    """Call until the answer is this; how many were others. A guard whose Redis is slow decides by itself for a second, as far as it knows."""
    others = 0

    async def is_told() -> bool:
        nonlocal others
        response = await client.dispatch(tool, {}, key=uuid4().hex, run_id="run_2", cap_s=PATIENT_S)
        others += response.failure.reason != reason
        return response.failure.reason == reason

    await eventually(is_told, within_s=PATIENT_S)
    return others


async def test_a_redis_emptied_in_mid_call_repeats_nothing_loses_nothing_and_begins_limits_and_breakers_anew(
    replicas: Replicas, redis: Redis, tmp_path: Path
) -> None:
    one, two = replicas
    note, hold = tmp_path / "note", tmp_path / "hold"
    await until_told(one, "pass_the_limit", "RATE_LIMITED")
    await until_told(one, "fall_down", "BREAKER_OPEN")
    hold.touch()
    async with asyncio.TaskGroup() as group:

        def ask(client: Client, effect: str, epoch: int = 1) -> "asyncio.Task[pb.DispatchResponse]":
            return group.create_task(client.dispatch(f"hold_{effect}", {"note": str(note)}, key=effect, epoch=epoch, cap_s=PATIENT_S))

        asked = [ask(one, effect) for effect in EFFECTS]
        await eventually(lambda: note.exists() and len(note.read_text().splitlines()) == len(EFFECTS), within_s=PATIENT_S)
        repeated = [ask(two, effect) for effect in EFFECTS if effect != "read_only"]
        await redis.flushdb()
        hold.unlink()
    assert [(task.result().result.text, task.result().attempts, task.result().recorded) for task in asked] == [
        (f'{{"acted":"{effect}"}}', 1, False) for effect in EFFECTS
    ]
    assert all(task.result().recorded for task in repeated)
    again = [await two.dispatch(f"hold_{effect}", {"note": str(note)}, key=effect, epoch=2, cap_s=PATIENT_S) for effect in EFFECTS]
    assert [(answer.result, answer.recorded) for answer in again] == [(task.result().result, True) for task in asked]
    assert Counter(note.read_text().splitlines()) == Counter(EFFECTS)
    await until_told(one, "pass_the_limit", "")
    await until_told(one, "pass_the_limit", "RATE_LIMITED")
    assert await until_told(two, "fall_down", "BREAKER_OPEN") >= FAILURES  # one, had it been a probe


async def test_one_grant_shown_to_two_replicas_at_once_is_spent_exactly_once(replicas: Replicas, tmp_path: Path) -> None:
    note, keys = tmp_path / "note", [f"key_{number}" for number in range(5)]
    asked = {key: (await replicas[0].dispatch("act_risky", {"note": str(note)}, key=key)).approval_required for key in keys}
    grants = {key: tool_pb2.Grant(grant_id="apr_1", call_digest=one.call_digest, granted_by="ada") for key, one in asked.items()}
    shown = [(replica, key) for _ in range(3) for key in keys for replica in replicas]
    answers = await asyncio.gather(
        *(replica.dispatch("act_risky", {"note": str(note)}, key=key, grants=(grants[key],), cap_s=PATIENT_S) for replica, key in shown)
    )
    [acted] = note.read_text().split("\n")[:-1]
    winner = acted.removeprefix("acted ")
    spent = [answer for (_, key), answer in zip(shown, answers, strict=True) if key == winner]
    refused = [answer for (_, key), answer in zip(shown, answers, strict=True) if key != winner]
    assert {answer.result.text for answer in spent} == {f'{{"acted":"{winner}"}}'}
    assert [answer.recorded for answer in spent].count(False) == 1
    assert {answer.failure.reason for answer in refused} == {"GRANT_SPENT"}
    entries = await replicas[1].ask("ListAuditEntries", pb.ListAuditEntriesRequest(action="grant.spent"))
    assert [entry.subject for entry in entries.entries] == ["grant:apr_1"]
