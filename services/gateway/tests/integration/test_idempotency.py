"""Idempotency keys over both protocols: one execution, one answer, whoever repeats it and however."""

import asyncio

import aiohttp
import grpc
import pytest
from gateway_behaviour import RequestLedgerBehaviour
from gateway_door import Door, open_door
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2, webhooks_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import webhook_pb2
from plimsoll_gateway.adapters.postgres_keys import MIGRATIONS
from plimsoll_gateway.adapters.postgres_requests import PostgresRequestLedger
from plimsoll_gateway.config import SCHEMA
from plimsoll_runtime.errors import Conflict
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.waiting import eventually

WEBHOOK = {"url": "https://shop.example/hook"}
PATH = "/v1/webhooks/shop"


class TestPostgresRequestLedger(RequestLedgerBehaviour):
    @pytest.fixture
    async def ledger(self, postgres_dsn: str):
        async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), SCHEMA) as pool:
            await migrate(pool, SCHEMA, [MIGRATIONS])
            yield PostgresRequestLedger(pool)

    async def test_what_is_older_than_a_day_is_forgotten_and_free(self, postgres_dsn: str):
        async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), SCHEMA) as pool:
            await migrate(pool, SCHEMA, [MIGRATIONS])
            await pool.executemany(
                "insert into requests (tenant, key, fingerprint, attempt, leased_until, answer, made_at) "
                "values ('acme', $1, $2, 'a', now(), 'x', now() - $3 * interval '1 hour')",
                [("new", bytes(32), 23), ("old", bytes(32), 25)],
            )
            assert await PostgresRequestLedger(pool).forget_old() == 1
            assert [row["key"] for row in await pool.fetch("select key from requests")] == ["new"]


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        opened.peers["orchestrator"].answers["PutWebhook"] = pb.PutWebhookResponse(
            webhook=webhook_pb2.Webhook(name="shop"), secret="whsec_x"
        )
        yield opened


async def put(door: Door, key: str, body: object = WEBHOOK, path: str = PATH) -> tuple[int, bytes, str]:
    async with door.rest.put(path, json=body, headers={"Idempotency-Key": key}) as response:
        return response.status, await response.read(), response.headers.get("Idempotent-Replayed", "")


async def test_fifty_repeats_at_once_are_one_execution_with_one_answer(door: Door):
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(put(door, "k")) for _ in range(50)]
    assert len(door.peers["orchestrator"].heard) == 1
    assert {task.result()[:2] for task in answers} == {answers[0].result()[:2]}
    assert sorted(task.result()[2] for task in answers) == ["", *["true"] * 49]
    assert answers[0].result()[0] == 200


@pytest.mark.parametrize(
    ("body", "path"), [({"url": "https://other.example/"}, PATH), (WEBHOOK, "/v1/webhooks/other"), (WEBHOOK, PATH + "?rotate=true")]
)
async def test_the_key_of_another_request_is_refused_with_422(door: Door, body: object, path: str):
    assert (await put(door, "k"))[0] == 200
    status, text, _ = await put(door, "k", body, path)
    assert (status, b"IDEMPOTENCY_KEY_REUSED" in text) == (422, True)
    assert len(door.peers["orchestrator"].heard) == 1


async def test_a_repeat_over_the_other_protocol_is_a_repeat(door: Door):
    first = await put(door, "k")
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"), ("idempotency-key", "k"))
    call = stub.PutWebhook(webhooks_pb2.PutWebhookRequest(name="shop", webhook={"url": WEBHOOK["url"]}), metadata=metadata)
    assert (await call).secret == "whsec_x"
    assert dict(await call.initial_metadata())["idempotent-replayed"] == "true"
    assert len(door.peers["orchestrator"].heard) == 1
    assert first[0] == 200
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PutWebhook(webhooks_pb2.PutWebhookRequest(name="shop", webhook={"url": "https://x/"}), metadata=metadata)
    refused = error_from_rpc(caught.value, "gateway")
    assert (type(refused), refused.reason) == (Conflict, "IDEMPOTENCY_KEY_REUSED")


async def test_another_tenants_key_of_the_same_text_is_another_key(door: Door):
    await put(door, "k")
    other = await door.make_key(tenant="other")
    async with door.rest.put(PATH, json=WEBHOOK, headers={"Idempotency-Key": "k", "Authorization": f"Bearer {other}"}) as response:
        assert (response.status, response.headers.get("Idempotent-Replayed")) == (200, None)
    assert [heard.caller.tenant for heard in door.peers["orchestrator"].heard] == ["acme", "other"]


async def test_a_refusal_frees_the_key(door: Door):
    answer = door.peers["orchestrator"].answers["PutWebhook"]
    door.peers["orchestrator"].answers["PutWebhook"] = Conflict("not now")
    assert (await put(door, "k"))[0] == 409
    door.peers["orchestrator"].answers["PutWebhook"] = answer
    assert (await put(door, "k"))[::2] == (200, "")


async def test_a_repeat_waits_for_the_attempt_under_way(door: Door):
    gate = asyncio.Event()
    door.peers["orchestrator"].answers["DeleteWebhook"] = gate

    async def delete() -> str:
        async with door.rest.delete(PATH, headers={"Idempotency-Key": "k"}) as response:
            assert response.status == 200
            return response.headers.get("Idempotent-Replayed", "")

    async with asyncio.TaskGroup() as group:
        first = group.create_task(delete())
        await eventually(lambda: door.peers["orchestrator"].heard)
        second = group.create_task(delete())
        gate.set()
    assert {first.result(), second.result()} == {"", "true"}
    assert len(door.peers["orchestrator"].heard) == 1


async def test_an_attempt_that_died_gives_way_to_a_repeat_which_the_service_behind_takes_as_such(door: Door):
    assert (await put(door, "k"))[0] == 200
    await door.pool.execute("update requests set answer = null, leased_until = now() - interval '1 second'")  # as kill -9 leaves it
    assert (await put(door, "k"))[::2] == (200, "")
    assert len(door.peers["orchestrator"].heard) == 2
    assert (await put(door, "k"))[2] == "true"


async def test_a_submission_is_recorded_by_the_orchestrator_alone(door: Door):
    door.peers["orchestrator"].answers["StartRun"] = pb.StartRunResponse(run={"run_id": "run_1"}, created=False)
    async with door.rest.post("/v1/agents/a/runs", json={}, headers={"Idempotency-Key": "k"}) as response:
        assert (response.status, response.headers["Idempotent-Replayed"]) == (200, "true")
    assert door.peers["orchestrator"].heard[0].request.idempotency_key == "k"
    assert await door.pool.fetchval("select count(*) from requests") == 0
    door.peers["orchestrator"].answers["StartRun"] = Conflict("used", reason="IDEMPOTENCY_KEY_REUSED")
    async with door.rest.post("/v1/agents/a/runs", json={"input": {}}, headers={"Idempotency-Key": "k"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"], problem["code"]) == (422, "IDEMPOTENCY_KEY_REUSED", "FAILED_PRECONDITION")


async def test_the_key_in_the_metadata_of_a_submission_reaches_the_orchestrator(door: Door):
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"), ("idempotency-key", "k"))
    await stub.SubmitRun(runs_pb2.SubmitRunRequest(agent="a"), metadata=metadata)
    assert door.peers["orchestrator"].heard[0].request.idempotency_key == "k"
    with pytest.raises(grpc.aio.AioRpcError, match="another key"):
        await stub.SubmitRun(runs_pb2.SubmitRunRequest(agent="a", idempotency_key="j"), metadata=metadata)


async def test_a_read_takes_no_key(door: Door):
    async with aiohttp.ClientSession(door.url, headers={"Authorization": f"Bearer {door.key}", "Idempotency-Key": "k"}) as session:
        for _ in range(2):
            async with session.get("/v1/runs") as response:
                assert (response.status, response.headers.get("Idempotent-Replayed")) == (200, None)
    assert len(door.peers["orchestrator"].heard) == 2
