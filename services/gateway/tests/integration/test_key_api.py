"""Keys over the API: made, rotated, revoked and counted, never beyond what the caller may do, and every step told."""

import pytest
from gateway_door import Door, Wish, open_door
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll_runtime.audit import verify
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn, Wish(loops=True)) as opened:
        yield opened


async def ask(door: Door, http: str, path: str, body: object = None, key: str = "", **headers: str) -> tuple[int, dict]:
    headers = {"Authorization": f"Bearer {key or door.key}", **headers}
    async with door.rest.request(http, path, json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_a_key_is_made_used_rotated_and_revoked(door: Door):
    status, made = await ask(door, "POST", "/v1/keys", {"name": "ci", "scopes": ["viewer", "runs:write"]})
    assert (status, made["key"]["name"]) == (200, "ci")
    assert (await ask(door, "GET", "/v1/caller", key=made["text"]))[1]["keyId"] == made["key"]["keyId"]
    path = f"/v1/keys/{made['key']['keyId']}"
    _, rotated = await ask(door, "POST", f"{path}:rotate", {"overlap": "3600s"})
    assert rotated["key"]["replaces"] == made["key"]["keyId"]
    assert rotated["key"]["scopes"] == made["key"]["scopes"]
    for text in (made["text"], rotated["text"]):
        assert (await ask(door, "GET", "/v1/runs", key=text))[0] == 200
    assert (await ask(door, "POST", f"{path}:revoke"))[0] == 200
    _, listed = await ask(door, "GET", "/v1/keys")
    assert [key["keyId"] for key in listed["keys"]][-2:] == [made["key"]["keyId"], rotated["key"]["keyId"]]
    assert "revokeTime" in listed["keys"][-2]
    _, told = await ask(door, "GET", "/v1/keys:events?pageSize=2")
    assert [entry["action"] for entry in told["entries"]] == ["key.revoked", "key.rotated"]
    assert told["entries"][0]["actor"].startswith("console (key_")
    _, rest = await ask(door, "GET", f"/v1/keys:events?pageToken={told['nextPageToken']}")
    assert [entry["action"] for entry in rest["entries"]] == ["key.created", "key.created"]
    assert (await verify(door.pool, "acme")).is_intact
    assert made["text"] not in str(listed) + str(told) + str(rest)


async def test_a_new_key_told_under_an_idempotency_key_is_told_again_and_read_by_nobody_else(door: Door):
    wanted = {"name": "ci", "scopes": ["viewer"]}
    first = await ask(door, "POST", "/v1/keys", wanted, **{"Idempotency-Key": "k-1"})
    assert await ask(door, "POST", "/v1/keys", wanted, **{"Idempotency-Key": "k-1"}) == first
    assert len((await ask(door, "GET", "/v1/keys"))[1]["keys"]) == 2
    kept = await door.pool.fetchrow("select key, answer from requests")
    assert first[1]["text"].encode() not in kept["answer"]
    assert "k-1" not in kept["key"]


async def test_nobody_makes_or_takes_over_a_key_that_may_do_more_than_they_may(door: Door):
    _, made = await ask(door, "POST", "/v1/keys", {"name": "keys", "scopes": ["keys:write", "keys:read"]})
    weak = made["text"]
    status, problem = await ask(door, "POST", "/v1/keys", {"name": "x", "scopes": ["admin"]}, key=weak)
    assert (status, problem["reason"]) == (403, "SCOPE_NOT_OWN")
    admin = (await ask(door, "GET", "/v1/keys"))[1]["keys"][0]["keyId"]
    assert (await ask(door, "POST", f"/v1/keys/{admin}:rotate", key=weak))[1]["reason"] == "SCOPE_NOT_OWN"
    assert (await ask(door, "POST", "/v1/keys", {"name": "x", "scopes": ["keys:read"]}, key=weak))[0] == 200


async def test_another_tenants_key_is_as_one_that_does_not_exist(door: Door):
    mine = (await ask(door, "GET", "/v1/keys"))[1]["keys"][0]["keyId"]
    other = await door.make_key(tenant="other")
    for verb in ("rotate", "revoke"):
        foreign = await ask(door, "POST", f"/v1/keys/{mine}:{verb}", key=other)
        nothing = await ask(door, "POST", f"/v1/keys/key_{'0' * (len(mine) - 4)}:{verb}", key=other)
        assert foreign[0] == nothing[0] == 404
        assert foreign[1]["reason"] == nothing[1]["reason"] == "KEY_NOT_FOUND"
    assert [key["name"] for key in (await ask(door, "GET", "/v1/keys", key=other))[1]["keys"]] == ["console"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/keys", {"name": "ci", "scopes": []}),
        ("/v1/keys", {"name": "ci", "scopes": ["everything"]}),
        ("/v1/keys", {"name": "", "scopes": ["viewer"]}),
        ("/v1/keys", {"name": "ci", "scopes": ["viewer"], "expireTime": "2020-01-01T00:00:00Z"}),
    ],
)
async def test_a_key_that_cannot_be_is_refused(door: Door, path: str, body: object):
    status, problem = await ask(door, "POST", path, body)
    assert (status, problem["reason"]) == (400, "INVALID_KEY_REQUEST")
    assert problem["violations"]


async def test_what_was_asked_is_counted_and_what_models_cost_is_told(door: Door):
    door.peers["model_router"].answers["ListBudgets"] = router_pb.ListBudgetsResponse(
        budgets=[{"budget": {"max_cost_micros": 100}, "spent_cost_micros": 7}]
    )
    for _ in range(3):
        await ask(door, "GET", "/v1/runs")

    async def counted() -> dict | None:
        usage = (await ask(door, "GET", "/v1/usage?days=1"))[1]
        return usage if usage["keys"] else None

    usage = await eventually(counted)
    assert int(usage["keys"][0]["requests"]) >= 3
    assert (usage["keys"][0]["name"], usage["budgets"][0]["spentCostMicros"]) == ("console", "7")
    assert "lastUseTime" in (await ask(door, "GET", "/v1/keys"))[1]["keys"][0]
    assert (await ask(door, "GET", "/v1/usage?days=400"))[0] == 400
