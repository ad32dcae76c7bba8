# ruff: noqa: N802 - gRPC names the methods
"""`plimsoll keys`, `usage` and `whoami` against a gateway."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from client_fakes import AT, KEY
from client_shell import Shell
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import keys_pb2 as pb
from plimsoll.model_router.v1 import budget_pb2
from plimsoll_runtime.wire import timestamp_to_proto

CI = pb.ApiKey(key_id="key_1", name="ci", scopes=["runs:read"], create_time=timestamp_to_proto(AT), created_by="ann (key_0)")


class FakeKeys(rpc.GatewayServiceServicer):
    """Keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def GetCaller(self, request: pb.GetCallerRequest, _: Any) -> pb.GetCallerResponse:
        return pb.GetCallerResponse(key_id="key_0", name="ann", tenant="acme", scopes=["keys:write"])

    async def CreateKey(self, request: pb.CreateKeyRequest, _: Any) -> pb.CreateKeyResponse:
        self.heard.append(request)
        return pb.CreateKeyResponse(key=CI, text="plk_1_secret")

    async def ListKeys(self, request: pb.ListKeysRequest, _: Any) -> pb.ListKeysResponse:
        return pb.ListKeysResponse(keys=[CI])

    async def RotateKey(self, request: pb.RotateKeyRequest, _: Any) -> pb.RotateKeyResponse:
        self.heard.append(request)
        return pb.RotateKeyResponse(key=CI, text="plk_2_secret")

    async def RevokeKey(self, request: pb.RevokeKeyRequest, _: Any) -> pb.RevokeKeyResponse:
        return pb.RevokeKeyResponse(key=pb.ApiKey(key_id=request.key_id, revoke_time=timestamp_to_proto(AT)))

    async def GetUsage(self, request: pb.GetUsageRequest, _: Any) -> pb.GetUsageResponse:
        budget = budget_pb2.Budget(scope=budget_pb2.BUDGET_SCOPE_TENANT, period=budget_pb2.BUDGET_PERIOD_DAY, max_cost_micros=2_000_000)
        return pb.GetUsageResponse(
            keys=[pb.KeyUsage(key_id="key_1", name="ci", day="2026-03-01", requests=12, refused=3)],
            budgets=[budget_pb2.BudgetStatus(budget=budget, spent_cost_micros=500_000)],
        )


@pytest.fixture
async def keys(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeKeys]:
    server, fake = grpc.aio.server(), FakeKeys()
    rpc.add_GatewayServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("PLIMSOLL_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("PLIMSOLL_API_KEY", KEY)
    yield fake
    await server.stop(None)


async def test_a_key_is_printed_alone_so_that_it_can_be_piped(keys: FakeKeys, plimsoll: Shell) -> None:
    assert await plimsoll("keys", "create", "ci", "--scopes", "viewer, runs:write", "--days", "90") == 0
    assert plimsoll.out == "plk_1_secret\n"
    assert "only time" in plimsoll.err
    assert (list(keys.heard[0].scopes), keys.heard[0].HasField("expire_time")) == (["viewer", "runs:write"], True)


async def test_a_key_is_rotated_with_the_overlap_told(keys: FakeKeys, plimsoll: Shell) -> None:
    assert await plimsoll("keys", "rotate", "key_1", "--overlap", "2", "--json") == 0
    assert plimsoll.json()["text"] == "plk_2_secret"
    assert keys.heard[0].overlap.seconds == 7200
    assert await plimsoll("keys", "rotate", "key_1") == 0
    assert not keys.heard[1].HasField("overlap")


async def test_keys_are_listed_and_revoked(keys: FakeKeys, plimsoll: Shell) -> None:
    assert await plimsoll("keys", "list") == 0
    assert "key_1" in plimsoll.out
    assert "runs:read" in plimsoll.out
    assert await plimsoll("keys", "revoke", "key_1") == 0
    assert "key_1: revoked" in plimsoll.out


async def test_usage_and_the_caller_are_told(keys: FakeKeys, plimsoll: Shell) -> None:
    assert await plimsoll("usage") == 0
    for word in ("2026-03-01", "12", "3", "0.5000 of 2.00"):
        assert word in plimsoll.out
    assert await plimsoll("whoami", "--json") == 0
    assert plimsoll.json()["tenant"] == "acme"
