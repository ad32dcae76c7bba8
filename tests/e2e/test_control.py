"""Steering a run, from every door: signals, pauses, forks, retries, questions, and how it is started."""

import json
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from doors import Door, ask, cli, ended, follow, get, reasons, send, submit, until
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus
from plimsoll_client.options import Budget, Fork, RunOptions
from plimsoll_runtime.errors import Conflict, Invalid, NotFound, PlimsollError
from plimsoll_runtime.json_types import JsonObject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]
DOORS = ["rest", "grpc", "cli"]


async def waiting(http: aiohttp.ClientSession, order: str = "o-1") -> str:
    """A run that waits for its signal."""
    run_id = await submit(http, "patient", {"order": order})
    await until(http, run_id, "WAITING")
    return run_id


async def pay(http: aiohttp.ClientSession, run_id: str, cents: int = 5) -> JsonObject:
    await send(http, "POST", f"/v1/runs/{run_id}:signal", {"name": "paid", "payload": {"cents": cents}})
    return await ended(http, run_id)


def kinds(entries: list[JsonObject]) -> list[str]:
    known = {"runId", "seq", "time", "tenant", "agent", "agentDigest", "epoch", "abridged"}
    return [next(key for key in entry if key not in known) for entry in entries]


@pytest.mark.parametrize("by", DOORS)
async def test_a_signal_reaches_a_waiting_run_from_every_door(http: aiohttp.ClientSession, client: Client, door: Door, by: str) -> None:
    run_id = await waiting(http)
    assert await reasons(http, run_id) == ["SIGNAL"]
    match by:
        case "rest":
            assert (await send(http, "POST", f"/v1/runs/{run_id}:signal", {"name": "paid", "payload": {"cents": 5}}))["signalId"]
        case "grpc":
            assert await client.runs.signal(run_id, "paid", {"cents": 5})
        case _:
            said = await cli(door.data, "runs", "signal", run_id, "paid", "--payload", '{"cents": 5}')
            assert said.code == 0, said.err
    run = await ended(http, run_id)
    assert (run["status"], run["output"]) == ("RUN_STATUS_SUCCEEDED", {"order": "o-1", "cents": 5, "note": ""})
    told = kinds(await follow(http, run_id))
    assert told.index("waitStarted") < told.index("signalReceived") < told.index("stepFinished")


async def test_a_signal_with_the_same_key_is_one_signal_and_a_run_that_is_over_takes_none(
    http: aiohttp.ClientSession, client: Client, door: Door
) -> None:
    run_id = await waiting(http)
    sent = {await client.runs.signal(run_id, "later", {"x": 1}, key="once") for _ in range(3)}
    assert len(sent) == 1
    await pay(http, run_id)
    status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:signal", {"name": "paid"})
    assert (status, problem["reason"]) == (409, "RUN_FINISHED")
    with pytest.raises(Conflict) as caught:
        await client.runs.signal(run_id, "paid")
    assert caught.value.reason == "RUN_FINISHED"
    said = await cli(door.data, "runs", "signal", run_id, "paid")
    assert (said.code, "already" in said.err) == (1, True)


@pytest.mark.parametrize("by", DOORS)
async def test_a_paused_run_does_nothing_until_it_is_resumed_and_then_all_of_it(
    http: aiohttp.ClientSession, client: Client, door: Door, by: str
) -> None:
    run_id = await waiting(http, f"paused-{by}")
    match by:
        case "rest":
            paused = await send(http, "POST", f"/v1/runs/{run_id}:pause", {"reason": "look first"})
            assert paused["run"]["status"] == "RUN_STATUS_PAUSED"  # type: ignore[index, call-overload]
        case "grpc":
            assert (await client.runs.pause(run_id, reason="look first")).status is RunStatus.PAUSED
        case _:
            said = await cli(door.data, "runs", "pause", run_id, "--reason", "look first")
            assert said.out == f"{run_id} is paused.\n", said.err
    assert await reasons(http, run_id) == ["PAUSED", "SIGNAL"]
    await client.runs.signal(run_id, "paid", {"cents": 7})  # what it waited for does not move it
    seq = (await client.runs.get(run_id)).seq
    shown = await cli(door.data, "runs", "show", run_id)
    assert "The run is paused" in shown.out
    assert "PAUSED" in shown.out
    assert (await client.runs.get(run_id)).seq == seq
    match by:
        case "rest":
            await send(http, "POST", f"/v1/runs/{run_id}:resume")
        case "grpc":
            await client.runs.resume(run_id)
        case _:
            assert (await cli(door.data, "runs", "resume", run_id)).code == 0
    run = await ended(http, run_id)
    assert (run["status"], run["output"]) == ("RUN_STATUS_SUCCEEDED", {"order": f"paused-{by}", "cents": 7, "note": ""})
    told = kinds(await follow(http, run_id))
    assert told.index("runPaused") < told.index("runResumed") < told.index("stepFinished")


async def test_what_runs_or_is_over_cannot_be_resumed(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    run_id = await waiting(http)
    status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:resume")
    assert (status, problem["reason"]) == (409, "RUN_NOT_STOPPED")
    await pay(http, run_id)
    for verb in ("pause", "resume"):
        status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:{verb}")
        assert (status, problem["reason"]) == (409, "RUN_FINISHED")
        assert (await cli(door.data, "runs", verb, run_id)).code == 1
    with pytest.raises(NotFound) as caught:
        await client.runs.pause("run_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert caught.value.reason == "RUN_NOT_FOUND"


async def finished_ledger(http: aiohttp.ClientSession) -> tuple[str, int]:
    """A run, and the position at which it had doubled its number."""
    run_id = await submit(http, "ledger", {"n": 2})
    assert (await ended(http, run_id))["output"] == {"told": "it is 4"}
    entries = await follow(http, run_id)
    doubled = next(entry for entry in entries if "stepFinished" in entry and entry["stepFinished"]["node"] == "double")  # type: ignore[index, call-overload]
    return run_id, int(str(doubled["seq"]))


@pytest.mark.parametrize("by", DOORS)
async def test_a_fork_goes_on_from_where_it_departs_with_the_state_that_was_edited(
    http: aiohttp.ClientSession, client: Client, door: Door, by: str
) -> None:
    run_id, seq = await finished_ledger(http)
    before = await get(http, f"/v1/runs/{run_id}")
    match by:
        case "rest":
            made = await send(http, "POST", f"/v1/runs/{run_id}:fork", {"seq": str(seq), "state": {"doubled": 100}})
            fork_id = str(made["run"]["runId"])  # type: ignore[index, call-overload]
        case "grpc":
            fork_id = (await client.runs.fork(run_id, Fork(seq=seq, state={"doubled": 100}))).run.id
        case _:
            said = await cli(door.data, "runs", "fork", run_id, "--seq", str(seq), "--state", '{"doubled": 100}')
            assert said.code == 0, said.err
            fork_id = said.out.strip()
    fork = await ended(http, fork_id)
    assert (fork["status"], fork["output"]) == ("RUN_STATUS_SUCCEEDED", {"told": "it is 100"})
    assert fork["origin"]["forkedRunId"] == run_id  # type: ignore[index, call-overload]
    assert await get(http, f"/v1/runs/{run_id}") == before
    shown = await cli(door.data, "runs", "show", fork_id)
    assert f"forked from {run_id} at {seq}" in shown.out


async def test_the_same_fork_with_the_same_key_is_one_run_and_a_place_that_no_journal_has_is_refused(
    http: aiohttp.ClientSession, client: Client, door: Door
) -> None:
    run_id, seq = await finished_ledger(http)
    forks = [await client.runs.fork(run_id, Fork(seq=seq), key=f"fork-{run_id}") for _ in range(2)]
    assert (forks[0].run.id, forks[1].created) == (forks[1].run.id, False)
    status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:fork", {"seq": "999"})
    assert (status, problem["violations"][0]["field"]) == (400, "seq")  # type: ignore[index, call-overload]
    with pytest.raises(Invalid) as caught:
        await client.runs.fork(run_id, Fork(seq=999))
    assert caught.value.reason == problem["reason"]
    said = await cli(door.data, "runs", "fork", run_id, "--seq", "999")
    assert (said.code, "seq" in said.err) == (2, True)


BRITTLE = """agent: brittle-{by}
input: {{type: object, required: [order], properties: {{order: {{type: string}}}}}}
state: {{type: object, properties: {{order: {{type: string}}, seen: {{type: boolean}}, done: {{type: boolean}}}}}}
start: first
output: {{done: state.done}}
nodes:
  first: {{set: {{seen: "true"}}, next: second}}
  second: {{set: {{done: "true"}}, require: ["{condition}"], next: end}}
"""


@pytest.mark.parametrize("by", DOORS)
async def test_a_failed_run_is_retried_from_the_step_that_failed_with_the_version_that_mends_it(
    http: aiohttp.ClientSession, client: Client, door: Door, by: str
) -> None:
    await client.agents.register(BRITTLE.format(by=by, condition="size(state.order) > 100"))
    run_id = await submit(http, f"brittle-{by}", {"order": "o-1"})
    failed = await ended(http, run_id)
    assert failed["failure"]["category"] == "FAILURE_CATEGORY_CONTEXT_INVALID"  # type: ignore[index, call-overload]
    again = await client.runs.retry(run_id)
    assert (await client.runs.wait(again.run.id)).status is RunStatus.FAILED
    await client.agents.register(BRITTLE.format(by=by, condition="size(state.order) > 0"))
    match by:
        case "rest":
            made = await send(http, "POST", f"/v1/runs/{run_id}:retry", {"latest": True})
            retried_id = str(made["run"]["runId"])  # type: ignore[index, call-overload]
        case "grpc":
            retried_id = (await client.runs.retry(run_id, latest=True)).run.id
        case _:
            said = await cli(door.data, "runs", "retry", run_id, "--latest")
            assert said.code == 0, said.err
            retried_id = said.out.strip()
    retried = await ended(http, retried_id)
    assert (retried["status"], retried["output"]) == ("RUN_STATUS_SUCCEEDED", {"done": True})
    nodes = [entry["stepFinished"]["node"] for entry in await follow(http, retried_id) if "stepFinished" in entry]  # type: ignore[index, call-overload]
    assert nodes == ["second"]


async def test_only_what_failed_is_retried(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    run_id, _ = await finished_ledger(http)
    status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:retry")
    assert (status, problem["reason"]) == (409, "NOTHING_TO_RETRY")
    with pytest.raises(Conflict) as caught:
        await client.runs.retry(run_id)
    assert caught.value.reason == "NOTHING_TO_RETRY"
    assert (await cli(door.data, "runs", "retry", run_id)).code == 1


async def test_a_run_answers_questions_about_its_state_while_it_waits(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    run_id = await waiting(http, "o-77")
    expression = "state.order + ' ' + run.status"
    by_rest = await send(http, "POST", f"/v1/runs/{run_id}:query", {"expression": expression})
    by_grpc = await client.runs.query(run_id, expression)
    by_cli = await cli(door.data, "runs", "query", run_id, expression, "--json")
    assert by_rest["value"] == by_grpc.value == json.loads(by_cli.out)["value"] == "o-77 waiting"
    assert int(str(by_rest["seq"])) == by_grpc.seq == (await client.runs.get(run_id)).seq
    status, problem = await ask(http, "POST", f"/v1/runs/{run_id}:query", {"expression": "state.order +"})
    assert (status, problem["violations"][0]["field"]) == (400, "expression")  # type: ignore[index, call-overload]
    with pytest.raises(Invalid) as caught:
        await client.runs.query(run_id, "state.order +")
    assert caught.value.reason == problem["reason"]
    said = await cli(door.data, "runs", "query", run_id, "state.order +")
    assert (said.code, "expression" in said.err) == (2, True)


BAD_OPTIONS: list[tuple[JsonObject, RunOptions, list[str], str]] = [
    ({"priority": 12}, RunOptions(priority=12), ["--priority", "12"], "options.priority"),
    (
        {"startTime": "2020-01-01T00:00:00Z"},
        RunOptions(start_at=datetime(2020, 1, 1, tzinfo=UTC)),
        ["--at", "2020-01-01T00:00:00Z"],
        "options.startTime",
    ),
    (
        {"deadline": "2999-01-01T00:00:00Z"},
        RunOptions(deadline=datetime(2999, 1, 1, tzinfo=UTC)),
        ["--deadline", "2999-01-01T00:00:00Z"],
        "options.deadline",
    ),
]


@pytest.mark.parametrize(
    ("as_json", "options", "arguments", "field"), BAD_OPTIONS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_options_that_cannot_be_meant_are_refused_alike_at_every_door(
    http: aiohttp.ClientSession, client: Client, door: Door, as_json: JsonObject, options: RunOptions, arguments: list[str], field: str
) -> None:
    status, problem = await ask(http, "POST", "/v1/agents/ledger/runs", {"input": {"n": 1}, "options": as_json})
    assert (status, problem["reason"], [one["field"] for one in problem["violations"]]) == (400, "INVALID_OPTIONS", [field])  # type: ignore[index, union-attr, call-overload]
    with pytest.raises(PlimsollError) as caught:
        await client.runs.submit("ledger", {"n": 1}, options=options)
    assert (caught.value.reason, [one.field for one in caught.value.problems]) == ("INVALID_OPTIONS", [field])
    said = await cli(door.data, "runs", "submit", "ledger", "--input", "-", *arguments, stdin=b'{"n": 1}')
    assert (said.code, field in said.err) == (2, True)


async def test_a_run_that_shall_start_later_says_so_and_can_be_called_off(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    said = await cli(door.data, "runs", "submit", "ledger", "--input", "-", "--in", "1h", "--priority", "7", stdin=b'{"n": 1}')
    assert said.code == 0, said.err
    run_id = said.out.strip()
    run = await client.runs.get(run_id)
    assert (run.status, run.options.priority, run.seq) == (RunStatus.QUEUED, 7, 1)
    assert run.options.start_at is not None
    assert timedelta(minutes=58) < run.options.start_at - datetime.now(UTC) < timedelta(minutes=61)
    assert "DELAYED" in await reasons(http, run_id)
    explained = await cli(door.data, "runs", "explain", run_id)
    assert "DELAYED" in explained.out
    assert (await client.runs.cancel(run_id, reason="no need")).status is RunStatus.CANCELLED


async def test_a_run_fails_at_its_deadline_and_when_its_budget_is_used_up(http: aiohttp.ClientSession, client: Client) -> None:
    late = await client.runs.submit("patient", {"order": "o-1"}, options=RunOptions(deadline=datetime.now(UTC) + timedelta(seconds=2)))
    short = await client.runs.submit("effects", {"name": "short", "pause_s": 0}, options=RunOptions(budget=Budget(steps=2)))
    over = await client.runs.wait(late.id, timeout_s=30)
    assert (over.status, over.failure and over.failure.category) == (RunStatus.FAILED, "timeout")
    spent = await client.runs.wait(short.id, timeout_s=30)
    assert (spent.status, spent.failure and spent.failure.category, spent.steps) == (RunStatus.FAILED, "budget_exceeded", 2)


FAMILY = """agent: family
description: Has a ledger do the work
input: {type: object, required: [n], additionalProperties: false, properties: {n: {type: integer}}}
state: {type: object, additionalProperties: false, properties: {n: {type: integer}, told: {type: string}}}
start: child
output: {told: state.told}
nodes:
  child: {subgraph: {agent: ledger, input: {n: state.n}}, save: {told: string(result.told)}, next: end}
"""


async def test_the_runs_that_a_run_starts_are_listed_under_it_only(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    await client.agents.register(FAMILY)
    run_id = await submit(http, "family", {"n": 21})
    run = await ended(http, run_id)
    assert (run["status"], run["output"]) == ("RUN_STATUS_SUCCEEDED", {"told": "it is 42"})
    [child] = await client.runs.list(parent_run_id=run_id)
    assert child.agent == "ledger"
    origin = (await client.runs.get(child.id)).origin
    assert origin is not None
    assert origin.parent_run_id == run_id
    assert child.id not in {one.id for one in await client.runs.list(agent="ledger", limit=500)}
    said = await cli(door.data, "runs", "list", "--parent", run_id, "--json")
    assert [one["id"] for one in json.loads(said.out)] == [child.id]
    told = kinds(await follow(http, run_id))
    assert told.index("childrenStarted") < told.index("childrenJoined")
    listed = await cli(door.data, "runs", "events", run_id)
    assert "1 of 1 runs of its own started" in listed.out
