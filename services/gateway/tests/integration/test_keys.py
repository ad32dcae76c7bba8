"""API keys in Postgres, at the door over both protocols, made at the first start and by command."""

import asyncio
import logging
import os
import stat
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from gateway_behaviour import KeyStoreBehaviour
from gateway_door import Door, Wish, door_settings, open_door
from gateway_peers import SERVICES
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plimsoll.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc, runs_pb2
from plimsoll_gateway.adapters.postgres_keys import MIGRATIONS, PostgresKeyStore
from plimsoll_gateway.commands import keys_command
from plimsoll_gateway.domain.scopes import ANYBODY, NEEDED, ROLES
from plimsoll_gateway.main import build
from plimsoll_gateway.service.keys import KeyRequest
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import InvalidSettings, PostgresSettings, Secret
from plimsoll_runtime.status import error_from_rpc

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
NOWHERE = dict.fromkeys(SERVICES, "127.0.0.1:1")


class TestPostgresKeyStore(KeyStoreBehaviour):
    @pytest.fixture
    async def store(self, postgres_dsn: str):
        async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "gateway") as pool:
            await migrate(pool, "gateway", [AUDIT_MIGRATIONS, MIGRATIONS])
            yield PostgresKeyStore(pool)


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        yield opened


async def over_rest(door: Door, authorization: str) -> tuple[int, str]:
    async with door.rest.get("/v1/runs/run_1", headers={"Authorization": authorization}) as response:
        problem = {} if response.status == 200 else await response.json(content_type="application/problem+json")
        assert (response.status == 401) == ("WWW-Authenticate" in response.headers)
        return response.status, problem.get("reason", "")


async def over_grpc(door: Door, authorization: str) -> tuple[grpc.StatusCode, str]:
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", authorization),) if authorization else ()
    try:
        await stub.GetRun(runs_pb2.GetRunRequest(run_id="run_1"), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code(), error_from_rpc(error, "gateway").reason
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("", "KEY_MISSING"),
        ("Bearer", "KEY_MISSING"),
        ("Basic dXNlcjpwYXNz", "KEY_MISSING"),
        ("Bearer nonsense", "KEY_UNKNOWN"),
        (f"Bearer plk_01ARZ3NDEKTSV4RRFFQ69G5FAV_{'A' * 43}", "KEY_UNKNOWN"),
    ],
)
async def test_nobody_known_is_refused_over_both_protocols(door: Door, authorization: str, reason: str):
    assert await over_rest(door, authorization) == (401, reason)
    assert await over_grpc(door, authorization) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert door.peers["orchestrator"].heard == []


async def test_a_good_key_with_another_secret_is_refused(door: Door):
    wrong = door.key[:-1] + ("A" if door.key[-1] != "A" else "B")
    assert await over_rest(door, f"Bearer {wrong}") == (401, "KEY_UNKNOWN")
    assert await over_rest(door, f"bearer {door.key}") == (200, "")


async def test_a_revoked_key_and_an_expired_key_are_refused(door: Door):
    revoked = await door.ring.create(KeyRequest(tenant="acme", name="old", scopes=ROLES["viewer"]))
    await door.ring.revoke("acme", revoked.record.key_id)
    assert await over_rest(door, f"Bearer {revoked.text}") == (401, "KEY_REVOKED")
    assert await over_grpc(door, f"Bearer {revoked.text}") == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")
    later = SystemClock().now() + timedelta(hours=1)
    wanted = KeyRequest(tenant="acme", name="short", scopes=ROLES["viewer"], expires_at=later)
    valid, expired = await door.ring.create(wanted), await door.ring.create(wanted)
    await door.pool.execute(
        "update api_keys set expires_at = now() - interval '1 minute' where key_id = $1", expired.record.key_id
    )  # as if the hour were over
    assert await over_rest(door, f"Bearer {valid.text}") == (200, "")
    assert await over_rest(door, f"Bearer {expired.text}") == (401, "KEY_EXPIRED")
    assert await over_grpc(door, f"Bearer {expired.text}") == (grpc.StatusCode.UNAUTHENTICATED, "KEY_EXPIRED")


@pytest.mark.parametrize("role", list(ROLES))
async def test_every_method_is_open_to_exactly_the_roles_that_the_table_says(door: Door, role: str):
    key = await door.make_key(role=role)
    for method in SERVICE.methods:
        reason = await _attempt(door, method.name, key, streaming=method.server_streaming)
        open_to_role = method.name in ANYBODY or NEEDED[method.name] in ROLES[role]
        assert (reason == "SCOPE_MISSING") == (not open_to_role), method.name


async def _attempt(door: Door, method: str, key: str, *, streaming: bool) -> str:
    make = door.channel.unary_stream if streaming else door.channel.unary_unary
    call = make(f"/{SERVICE.full_name}/{method}")(b"", metadata=(("authorization", f"Bearer {key}"),))
    try:
        if streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error_from_rpc(error, "gateway").reason
    return ""


async def test_a_key_without_the_scope_is_refused_over_rest_before_its_body_is_read(door: Door):
    key = await door.make_key(role="viewer")
    async with door.rest.post("/v1/agents", data=b"{not json", headers={"Authorization": f"Bearer {key}"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"], problem["remedy"]) == (403, "SCOPE_MISSING", "use a key with the scope agents:write")


async def test_the_tenant_is_the_keys_and_nothing_that_a_client_sends_changes_it(door: Door):
    key = await door.make_key(tenant="globex", name="shop")
    spoofed = {"Authorization": f"Bearer {key}", "plimsoll-tenant": "acme", "plimsoll-principal": "root"}
    async with door.rest.get("/v1/runs", headers=spoofed) as response:
        assert response.status == 200
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {key}"), ("plimsoll-tenant", "acme"), ("plimsoll-principal", "root"))
    await stub.ListRuns(runs_pb2.ListRunsRequest(), metadata=metadata)
    callers = [heard.caller for heard in door.peers["orchestrator"].heard]
    assert [caller.tenant for caller in callers] == ["globex", "globex"]
    assert all(caller.principal.startswith("shop (key_") for caller in callers)


async def test_health_and_reflection_need_no_key(door: Door):
    answer = await health_pb2_grpc.HealthStub(door.channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status in {health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING}


async def test_the_first_start_hands_over_a_key_that_opens_the_door(postgres_dsn: str, tmp_path: Path):
    file = tmp_path / "first.key"
    async with open_door(postgres_dsn, Wish(bootstrap_key_file=str(file))) as door:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        first = file.read_text().strip()
        assert await over_rest(door, f"Bearer {first}") == (200, "")
    async with open_door(postgres_dsn, Wish(bootstrap_key_file=str(file))) as door:
        assert file.read_text().strip() == first
        assert await over_rest(door, f"Bearer {first}") == (200, "")
        assert len(await door.ring.of_tenant("default")) == 1
    assert os.listdir(tmp_path) == [file.name]


async def _start(dsn: str, file: Path) -> None:
    async with AsyncExitStack() as stack:
        await build(door_settings(dsn, NOWHERE, Wish(bootstrap_key_file=str(file))), stack)


async def test_replicas_that_start_together_make_one_first_key(postgres_dsn: str, tmp_path: Path):
    file = tmp_path / "first.key"
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(_start(postgres_dsn, file))
    async with open_door(postgres_dsn, Wish(bootstrap_key_file=str(file))) as door:
        assert len(await door.ring.of_tenant("default")) == 1
        assert await over_rest(door, f"Bearer {file.read_text().strip()}") == (200, "")


async def test_a_vanished_key_file_is_told_with_the_remedy(postgres_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    file = tmp_path / "first.key"
    await _start(postgres_dsn, file)
    file.unlink()
    with caplog.at_level(logging.WARNING):
        await _start(postgres_dsn, file)
    assert not file.exists()
    record = next(record for record in caplog.records if record.getMessage() == "key.file_missing")
    assert "keys create" in record.fields["remedy"]  # type: ignore[attr-defined]


async def test_a_key_file_that_cannot_be_written_leaves_no_key_behind(postgres_dsn: str, tmp_path: Path):
    with pytest.raises(InvalidSettings, match="BOOTSTRAP_KEY_FILE"):
        await _start(postgres_dsn, tmp_path / "nowhere" / "first.key")
    await _start(postgres_dsn, tmp_path / "first.key")
    assert (tmp_path / "first.key").exists()


def test_a_command_makes_lists_and_revokes_keys(postgres_dsn: str, capsys: pytest.CaptureFixture[str]):
    environ = {"PLIMSOLL_GATEWAY_POSTGRES_DSN": postgres_dsn}
    create = ["create", "--tenant", "acme", "--name", "shop", "--scopes", "viewer,runs:write", "--expires", "90d"]
    assert keys_command(create, environ) == 0
    made = capsys.readouterr()
    assert made.out.startswith("plk_")
    key_id = made.err.split()[0]
    assert keys_command(["list", "--tenant", "acme"], environ) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"{key_id}  acme  'shop'  expires ")
    assert made.out.strip() not in listed
    assert keys_command(["revoke", "--tenant", "acme", key_id], environ) == 0
    assert "revoked" in capsys.readouterr().out
    assert keys_command(["revoke", "--tenant", "other", key_id], environ) == 1
    assert "has no key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--tenant": "No Tenant"}, "tenant: 'No Tenant' is no tenant"),
        ({"--name": ""}, "name: '' is no name"),
        ({"--scopes": "everything"}, "'everything' is neither a role"),
        ({"--scopes": ","}, "no scope is named"),
        ({"--expires": "soon"}, "'soon' is no time"),
        ({"--expires": "2020-01-01"}, "expires: lies in the past"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(
    postgres_dsn: str, capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str
):
    asked = {"--tenant": "acme", "--name": "shop", "--scopes": "viewer"} | change
    arguments = ["create", *(part for pair in asked.items() for part in pair)]
    assert keys_command(arguments, {"PLIMSOLL_GATEWAY_POSTGRES_DSN": postgres_dsn}) == 2
    assert says in capsys.readouterr().err


def test_a_command_without_a_database_says_what_is_missing(capsys: pytest.CaptureFixture[str]):
    assert keys_command(["list", "--tenant", "acme"], {}) == 2
    assert "PLIMSOLL_GATEWAY_POSTGRES_DSN: is not set" in capsys.readouterr().err
