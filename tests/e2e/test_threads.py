"""Conversations and shared places: who waits for whom, and what becomes of input for a thread with a run under way."""

import aiohttp
import pytest
from doors import Door, ask, cli, ended, follow, get, reasons, send, until
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus
from plimsoll_client.options import RunOptions, ThreadPolicy
from plimsoll_runtime.errors import Conflict
from plimsoll_runtime.json_types import JsonObject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]


async def begin(client: Client, http: aiohttp.ClientSession, thread: str, order: str = "o-1") -> str:
    """The first run of a thread, once it waits for its signal."""
    run = await client.runs.submit("patient", {"order": order}, options=RunOptions(thread_id=thread))
    await until(http, run.id, "WAITING")
    return run.id


async def pay(client: Client, http: aiohttp.ClientSession, run_id: str, cents: int) -> JsonObject:
    await client.runs.signal(run_id, "paid", {"cents": cents})
    return await ended(http, run_id)


async def test_runs_of_a_thread_take_turns_and_carry_what_they_keep(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    first = await begin(client, http, "turns")
    said = await cli(door.data, "runs", "submit", "patient", "--input", "-", "--thread", "turns", stdin=b"o-2")
    assert said.code == 0, said.err
    second = said.out.strip()
    assert "THREAD" in await reasons(http, second)
    thread = (await get(http, "/v1/threads/turns"))["thread"]
    assert isinstance(thread, dict)
    assert (thread["activeRunId"], thread["queuedRuns"]) == (first, "1")
    assert (await pay(client, http, first, 5))["status"] == "RUN_STATUS_SUCCEEDED"
    run = await until(http, second, "WAITING")
    assert run["state"]["cents"] == 5  # type: ignore[index, call-overload]
    assert (await pay(client, http, second, 7))["output"]["cents"] == 7  # type: ignore[index, call-overload]
    assert {one.id for one in await client.runs.list(thread_id="turns")} == {first, second}
    kept = await client.threads.get("turns")
    assert (kept.active_run_id, kept.queued_runs, kept.kept) == ("", 0, {"cents": 7})
    shown = await cli(door.data, "threads", "show", "turns")
    assert first in shown.out
    assert second in shown.out
    assert "turns" in (await cli(door.data, "threads", "list")).out


async def test_a_thread_with_a_run_under_way_refuses_another_when_it_is_told_to(
    http: aiohttp.ClientSession, client: Client, door: Door
) -> None:
    await begin(client, http, "refusing")
    options: JsonObject = {"threadId": "refusing", "threadPolicy": "THREAD_POLICY_REJECT"}
    status, problem = await ask(http, "POST", "/v1/agents/patient/runs", {"input": {"order": "o-2"}, "options": options})
    assert (status, problem["reason"]) == (409, "THREAD_BUSY")
    with pytest.raises(Conflict) as caught:
        await client.runs.submit("patient", {"order": "o-2"}, options=RunOptions(thread_id="refusing", thread_policy=ThreadPolicy.REJECT))
    assert caught.value.reason == "THREAD_BUSY"
    said = await cli(door.data, "runs", "submit", "patient", "-i", "-", "--thread", "refusing", "--policy", "reject", stdin=b"o-2")
    assert (said.code, said.out) == (1, "")
    assert len(await client.runs.list(thread_id="refusing")) == 1


@pytest.mark.parametrize("policy", [ThreadPolicy.INTERRUPT, ThreadPolicy.ROLLBACK])
async def test_a_newer_run_takes_the_place_of_the_one_under_way(http: aiohttp.ClientSession, client: Client, policy: ThreadPolicy) -> None:
    thread = f"taken-{policy}"
    first = await begin(client, http, thread)
    second = await client.runs.submit("patient", {"order": "o-2"}, options=RunOptions(thread_id=thread, thread_policy=policy))
    assert (await client.runs.wait(first, timeout_s=30)).status is RunStatus.CANCELLED
    await until(http, second.id, "WAITING")
    assert (await pay(client, http, second.id, 9))["status"] == "RUN_STATUS_SUCCEEDED"


@pytest.mark.parametrize("by", ["rest", "grpc", "cli"])
async def test_input_that_steers_reaches_the_run_under_way(http: aiohttp.ClientSession, client: Client, door: Door, by: str) -> None:
    thread = f"steered-{by}"
    run_id = await begin(client, http, thread)
    value: JsonObject = {"order": "o-1", "note": "faster"}
    match by:
        case "rest":
            body: JsonObject = {"input": value, "options": {"threadId": thread, "threadPolicy": "THREAD_POLICY_STEER"}}
            answer = await send(http, "POST", "/v1/agents/patient/runs", body)
            assert (answer["steered"], answer["run"]["runId"]) == (True, run_id)  # type: ignore[index, call-overload]
        case "grpc":
            options = RunOptions(thread_id=thread, thread_policy=ThreadPolicy.STEER)
            started = await client.runs.start("patient", value, options=options)
            assert (started.steered, started.created, started.run.id) == (True, False, run_id)
        case _:
            text = b'{"order": "o-1", "note": "faster"}'
            said = await cli(door.data, "runs", "submit", "patient", "-i", "-", "--thread", thread, "--policy", "steer", stdin=text)
            assert (said.code, said.out) == (0, f"{run_id}\n")
            assert "No new run" in said.err
    assert (await pay(client, http, run_id, 5))["output"] == {"order": "o-1", "cents": 5, "note": "faster"}
    assert [entry for entry in await follow(http, run_id) if "inputReceived" in entry]
    assert "faster" in (await cli(door.data, "runs", "events", run_id)).out


async def test_runs_that_share_a_place_wait_for_it(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    options = RunOptions(concurrency_key="one-desk", concurrency_limit=1)
    first = await client.runs.submit("patient", {"order": "o-1"}, options=options)
    await until(http, first.id, "WAITING")
    said = await cli(door.data, "runs", "submit", "patient", "--input", "-", "--concurrency", "one-desk=1", stdin=b"o-2")
    assert said.code == 0, said.err
    second = said.out.strip()
    assert "CONCURRENCY_KEY" in await reasons(http, second)
    await pay(client, http, first.id, 5)
    await until(http, second, "WAITING")
    assert (await pay(client, http, second, 6))["status"] == "RUN_STATUS_SUCCEEDED"


async def test_a_thread_that_nobody_began_is_not_there(http: aiohttp.ClientSession, door: Door) -> None:
    status, problem = await ask(http, "GET", "/v1/threads/nobody")
    assert (status, problem["reason"]) == (404, "THREAD_NOT_FOUND")
    assert (await cli(door.data, "threads", "show", "nobody")).code == 3
