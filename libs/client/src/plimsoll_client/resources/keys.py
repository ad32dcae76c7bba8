"""Keys: make, list, rotate, revoke; who asks, and how much."""

from collections.abc import Sequence
from datetime import datetime

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import keys_pb2 as pb
from plimsoll.model_router.v1 import budget_pb2
from plimsoll_runtime.wire import duration_to_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_client.calls import Calls
from plimsoll_client.codec.words import moment
from plimsoll_client.keys import ApiKey, BudgetUse, Caller, KeyEvent, KeyUsage, NewApiKey, Usage


class Keys:
    """The tenant's API keys. Nobody makes or takes over a key that may do more than they may."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def caller(self) -> Caller:
        """Who asks, as the gateway sees it."""
        told = await self._calls.repeatable(self._stub.GetCaller, pb.GetCallerRequest())
        return Caller(key_id=told.key_id, name=told.name, tenant=told.tenant, scopes=tuple(told.scopes))

    async def create(self, name: str, scopes: tuple[str, ...], expires_at: datetime | None = None) -> NewApiKey:
        """Make a key with roles or scopes; not repeated by itself, because its text is told once."""
        expire_time = timestamp_to_proto(expires_at) if expires_at else None
        made = await self._calls.once(self._stub.CreateKey, pb.CreateKeyRequest(name=name, scopes=scopes, expire_time=expire_time))
        return NewApiKey(key=_key(made.key), text=made.text)

    async def list(self) -> list[ApiKey]:
        """Oldest first, revoked and expired ones too."""
        return [_key(key) for key in (await self._calls.repeatable(self._stub.ListKeys, pb.ListKeysRequest())).keys]

    async def rotate(self, key_id: str, overlap_s: float | None = None) -> NewApiKey:
        """Make a successor; the old key works on for the overlap, a day unless told otherwise."""
        overlap = duration_to_proto(overlap_s) if overlap_s is not None else None
        made = await self._calls.once(self._stub.RotateKey, pb.RotateKeyRequest(key_id=key_id, overlap=overlap))
        return NewApiKey(key=_key(made.key), text=made.text)

    async def revoke(self, key_id: str) -> ApiKey:
        """Take a key back; it is refused everywhere within five seconds."""
        return _key((await self._calls.repeatable(self._stub.RevokeKey, pb.RevokeKeyRequest(key_id=key_id))).key)

    async def events(self, limit: int = 100) -> Sequence[KeyEvent]:
        """What was done with keys, newest first."""
        told = await self._calls.repeatable(self._stub.ListKeyEvents, pb.ListKeyEventsRequest(page_size=limit))
        return [
            KeyEvent(seq=one.seq, at=timestamp_from_proto(one.time), actor=one.actor, action=one.action, subject=one.subject)
            for one in told.entries
        ]

    async def usage(self, days: int = 30) -> Usage:
        """How much was asked, by key and day, and what is left of the budgets."""
        told = await self._calls.repeatable(self._stub.GetUsage, pb.GetUsageRequest(days=days))
        return Usage(
            keys=tuple(
                KeyUsage(day=one.day, key_id=one.key_id, name=one.name, requests=one.requests, refused=one.refused) for one in told.keys
            ),
            budgets=tuple(map(_budget, told.budgets)),
        )


def _key(key: pb.ApiKey) -> ApiKey:
    return ApiKey(
        key_id=key.key_id,
        name=key.name,
        scopes=tuple(key.scopes),
        created_at=moment(key, "create_time", key.create_time),
        created_by=key.created_by,
        expires_at=moment(key, "expire_time", key.expire_time),
        revoked_at=moment(key, "revoke_time", key.revoke_time),
        last_used_at=moment(key, "last_use_time", key.last_use_time),
        replaces=key.replaces,
    )


def _budget(status: budget_pb2.BudgetStatus) -> BudgetUse:
    budget = status.budget
    return BudgetUse(
        scope=budget_pb2.BudgetScope.Name(budget.scope).removeprefix("BUDGET_SCOPE_").lower(),
        subject=budget.subject,
        period=budget_pb2.BudgetPeriod.Name(budget.period).removeprefix("BUDGET_PERIOD_").lower(),
        spent_tokens=status.spent_tokens,
        max_tokens=budget.max_tokens,
        spent_cost_micros=status.spent_cost_micros,
        max_cost_micros=budget.max_cost_micros,
    )
