"""Who asks, their tenant's keys, and how much they asked: the nouns that the gateway itself owns."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.gateway.v1 import keys_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll_runtime.audit import entry_to_proto
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import duration_from_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_gateway.domain.principal import KeyRecord, Principal
from plimsoll_gateway.domain.scopes import Scope, scopes_named
from plimsoll_gateway.errors import ScopeNotOwn, wrong
from plimsoll_gateway.ports import ModelRouter, UsageStore
from plimsoll_gateway.service.keys import OVERLAP, KeyRequest, KeyRing

_DAYS, _DAYS_MOST = 30, 366
_PAGE, _PAGE_MOST = 100, 1000
_OVERLAP_MOST_S = 1e9


class Identity:
    def __init__(self, ring: KeyRing, usage: UsageStore, models: ModelRouter, clock: Clock) -> None:
        self._ring = ring
        self._usage = usage
        self._models = models
        self._clock = clock

    def caller(self, who: Principal) -> pb.GetCallerResponse:
        return pb.GetCallerResponse(key_id=who.key_id, name=who.name, tenant=who.tenant, scopes=sorted(who.scopes))

    async def create(self, request: pb.CreateKeyRequest, who: Principal) -> pb.CreateKeyResponse:
        """Raises Invalid, ScopeNotOwn."""
        try:
            scopes = scopes_named(",".join(request.scopes))
        except ValueError as error:
            raise Invalid(problems=(FieldProblem("scopes", str(error)),), reason="INVALID_KEY_REQUEST") from error
        _must_own(who, scopes)
        expires_at = timestamp_from_proto(request.expire_time) if request.HasField("expire_time") else None
        new = await self._ring.create(KeyRequest(tenant=who.tenant, name=request.name, scopes=scopes, expires_at=expires_at, by=who.actor))
        return pb.CreateKeyResponse(key=_shown(new.record), text=new.text)

    async def keys(self, who: Principal) -> pb.ListKeysResponse:
        return pb.ListKeysResponse(keys=[_shown(record) for record in await self._ring.of_tenant(who.tenant)])

    async def rotate(self, request: pb.RotateKeyRequest, who: Principal) -> pb.RotateKeyResponse:
        """Raises KeyNotFound, KeyOver, ScopeNotOwn, Invalid."""
        _must_own(who, (await self._ring.of_id(who.tenant, request.key_id)).granted)
        overlap = OVERLAP
        if request.HasField("overlap"):
            overlap = timedelta(seconds=max(-1.0, min(duration_from_proto(request.overlap), _OVERLAP_MOST_S)))
        rotated = await self._ring.rotate(who.tenant, request.key_id, who.actor, overlap)
        return pb.RotateKeyResponse(key=_shown(rotated.new.record), text=rotated.new.text, replaced=_shown(rotated.old))

    async def revoke(self, request: pb.RevokeKeyRequest, who: Principal) -> pb.RevokeKeyResponse:
        """Raises KeyNotFound."""
        return pb.RevokeKeyResponse(key=_shown(await self._ring.revoke(who.tenant, request.key_id, who.actor)))

    async def events(self, request: pb.ListKeyEventsRequest, who: Principal) -> pb.ListKeyEventsResponse:
        """Raises Invalid for a page that cannot be."""
        size = request.page_size or _PAGE
        if not 1 <= size <= _PAGE_MOST:
            raise wrong("pageSize", "is not between 1 and 1000", "send 0 for 100")
        token = request.page_token
        if token and not (token.isascii() and token.isdigit() and 0 < int(token[:20]) < 2**63):
            raise wrong("pageToken", "is no token of ours", "send the nextPageToken of the page before")
        entries = await self._ring.events(who.tenant, int(token or 0), size)
        more = str(entries[-1].seq) if len(entries) == size and entries[-1].seq > 1 else ""
        return pb.ListKeyEventsResponse(entries=map(entry_to_proto, entries), next_page_token=more)

    async def usage(self, request: pb.GetUsageRequest, who: Principal) -> pb.GetUsageResponse:
        """Raises Invalid, and what the model router raises."""
        if not 0 <= request.days <= _DAYS_MOST:
            raise wrong("days", f"is not between 1 and {_DAYS_MOST}", "send 0 for 30")
        since = self._clock.now().date() - timedelta(days=(request.days or _DAYS) - 1)
        counts = await self._usage.of_tenant(who.tenant, since)
        budgets = await self._models.list_budgets(router_pb.ListBudgetsRequest())
        return pb.GetUsageResponse(
            keys=[
                pb.KeyUsage(key_id=one.key_id, name=one.name, day=one.day.isoformat(), requests=one.requests, refused=one.refused)
                for one in counts
            ],
            budgets=budgets.budgets,
        )


def _must_own(who: Principal, scopes: frozenset[Scope]) -> None:
    beyond = scopes - who.scopes
    if beyond:
        raise ScopeNotOwn(f"{who.name!r} does not have {', '.join(sorted(beyond))}", remedy="leave these out, or ask somebody who has them")


def _shown(record: KeyRecord) -> pb.ApiKey:
    return pb.ApiKey(
        key_id=record.key_id,
        name=record.name,
        scopes=sorted(record.granted),
        create_time=timestamp_to_proto(record.created_at),
        created_by=record.created_by,
        expire_time=_time(record.expires_at),
        revoke_time=_time(record.revoked_at),
        last_use_time=_time(record.last_used_at),
        replaces=record.replaces,
    )


def _time(at: datetime | None) -> Timestamp | None:
    return timestamp_to_proto(at.astimezone(UTC)) if at is not None else None
