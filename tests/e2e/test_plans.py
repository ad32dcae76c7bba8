"""What is set up around runs, from every door: schedules, webhooks, and what a new version of an agent would break."""

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from doors import Door, ask, cli, get, send, submit, until
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus
from plimsoll_client.schedules import MissedPolicy, ScheduleDraft
from plimsoll_client.webhooks import WebhookDraft
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]
PATIENT = (Path(__file__).parent / "agents" / "patient" / "agent.yaml").read_text()


async def test_a_schedule_is_the_same_from_every_door(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    argv = ["schedules", "put", "nightly", "--agent", "ledger", "--cron", "30 3 * * *", "--time-zone", "Europe/Berlin", "--missed", "skip"]
    said = await cli(door.data, *argv, "--input", "-", "--priority", "2", "--json", stdin=b'{"n": 4}')
    assert said.code == 0, said.err
    by_grpc = await client.schedules.get("nightly")
    assert by_grpc.draft.missed is MissedPolicy.SKIP
    assert (by_grpc.draft.input, by_grpc.draft.options.priority) == ({"n": 4}, 2)
    assert by_grpc.next_at is not None
    local = by_grpc.next_at.astimezone(ZoneInfo("Europe/Berlin"))
    assert ((local.hour, local.minute), by_grpc.next_at > datetime.now(UTC)) == ((3, 30), True)
    by_rest = (await get(http, "/v1/schedules/nightly"))["schedule"]
    assert isinstance(by_rest, dict)
    assert (by_rest["cron"], by_rest["timeZone"], by_rest["missed"]) == ("30 3 * * *", "Europe/Berlin", "MISSED_POLICY_SKIP")
    assert json.loads(said.out)["draft"]["name"] == "nightly"

    assert (await cli(door.data, "schedules", "pause", "nightly")).out == "nightly: next paused\n"
    paused = await client.schedules.get("nightly")
    assert (paused.draft.paused, paused.next_at) == (True, None)
    changed: JsonObject = {"agent": "ledger", "cron": "0 4 * * *", "input": {"n": 1}}
    assert (await send(http, "PUT", "/v1/schedules/nightly", changed))["schedule"]["cron"] == "0 4 * * *"  # type: ignore[index, call-overload]
    assert "0 4 * * *" in (await cli(door.data, "schedules", "list")).out
    assert (await cli(door.data, "schedules", "delete", "nightly")).code == 0
    assert [one.name for one in await client.schedules.list()] == []
    assert (await ask(http, "GET", "/v1/schedules/nightly"))[1]["reason"] == "SCHEDULE_NOT_FOUND"


@pytest.mark.parametrize("cron", ["99 3 * * *", "* * *", "0 0 30 2 *", "soon"])
async def test_a_time_that_never_comes_is_refused_alike_at_every_door(
    http: aiohttp.ClientSession, client: Client, door: Door, cron: str
) -> None:
    status, problem = await ask(http, "PUT", "/v1/schedules/never", {"agent": "ledger", "cron": cron, "input": {"n": 1}})
    assert (status, problem["reason"]) == (400, "INVALID_SCHEDULE")
    with pytest.raises(Invalid) as caught:
        await client.schedules.put(ScheduleDraft(name="never", agent="ledger", cron=cron, input={"n": 1}))
    assert caught.value.reason == "INVALID_SCHEDULE"
    said = await cli(door.data, "schedules", "put", "never", "--agent", "ledger", "--cron", cron, "--input", "-", stdin=b'{"n": 1}')
    assert (said.code, "cron" in said.err) == (2, True)
    assert (await ask(http, "GET", "/v1/schedules/never"))[0] == 404


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://10.0.0.7/x", "https://[::1]/x", "ftp://shop.example/x", "http://shop.example/x", "not an address"],
)
async def test_a_webhook_to_where_nothing_may_be_sent_is_refused_alike_at_every_door(
    http: aiohttp.ClientSession, client: Client, door: Door, url: str
) -> None:
    status, problem = await ask(http, "PUT", "/v1/webhooks/inside", {"url": url})
    assert (status, problem["reason"]) == (400, "EGRESS_REFUSED")
    with pytest.raises(Invalid) as caught:
        await client.webhooks.put(WebhookDraft(name="inside", url=url))
    assert caught.value.reason == "EGRESS_REFUSED"
    said = await cli(door.data, "webhooks", "put", "inside", "--url", url)
    assert (said.code, said.out) == (2, "")


async def test_a_dry_run_names_the_runs_that_a_version_would_break_and_registers_nothing(
    http: aiohttp.ClientSession, client: Client, door: Door, tmp_path: Path
) -> None:
    run_id = await submit(http, "patient", {"order": "o-1"})
    await until(http, run_id, "WAITING")
    before = await client.agents.get("patient")
    other = PATIENT.replace("start: pay", "start: settle").replace("  pay:", "  settle:")
    by_rest = await send(http, "POST", "/v1/agents:check", {"source": other, "sourceName": "agent.yaml"})
    by_grpc = await client.agents.check(other)
    (tmp_path / "agent.yaml").write_text(other)
    by_cli = await cli(door.data, "agents", "dry-run", str(tmp_path), "--json")
    broken = {one.run_id: one for one in by_grpc.broken_runs}
    assert (broken[run_id].node, broken[run_id].status) == ("pay", RunStatus.WAITING)
    assert run_id in {one["runId"] for one in by_rest["brokenRuns"]}  # type: ignore[index, union-attr, call-overload]
    assert (by_cli.code, run_id in by_cli.out) == (1, True)
    assert (await client.agents.check(PATIENT)).broken_runs == ()
    (tmp_path / "agent.yaml").write_text(PATIENT)
    assert (await cli(door.data, "agents", "dry-run", str(tmp_path))).code == 0
    assert (await client.agents.get("patient")).digest == before.digest
    await client.runs.cancel(run_id)


async def test_the_mistakes_of_a_dry_run_are_those_that_registering_would_tell(
    http: aiohttp.ClientSession, door: Door, tmp_path: Path
) -> None:
    bad = PATIENT.replace("start: pay", "start: nowhere").replace("state.order,", "state.ordr,")
    status, problem = await ask(http, "POST", "/v1/agents", {"source": bad, "sourceName": "agent.yaml"})
    assert status == 400
    violations = problem["violations"]
    assert isinstance(violations, list)
    checked = (await send(http, "POST", "/v1/agents:check", {"source": bad, "sourceName": "agent.yaml"}))["mistakes"]
    assert isinstance(checked, list)
    told = [(one["place"], one["problem"], one["remedy"]) for one in checked if isinstance(one, dict)]
    assert told == [(one["field"], one["problem"], one["remedy"]) for one in violations if isinstance(one, dict)]
    (tmp_path / "agent.yaml").write_text(bad)
    said = await cli(door.data, "agents", "dry-run", str(tmp_path))
    assert said.code == 2
    assert all(str(place) in said.err for place, _, _ in told)
