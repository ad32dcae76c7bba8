"""Authentication and authorisation of every request, over both protocols, and how many are under way at once."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from plimsoll_runtime.clock import Clock

from plimsoll_gateway.domain.principal import KeyRecord, Principal, identify, read_key
from plimsoll_gateway.errors import NoKey, TooManyInFlight
from plimsoll_gateway.ports import KeyStore, TokenJudge

KEPT_S = 5.0
"""How long a key found in the store is believed: a revoked one works no longer than this, on any replica."""

_KEPT_MOST = 10_000
_NO_KEY_REMEDY = "send the header Authorization: Bearer and an API key (plk_…) or a token"


@dataclass(frozen=True, slots=True)
class _Found:
    record: KeyRecord | None
    until_s: float


class Access:
    """Tells who shows a key, or a token of the identity provider. Keys found are kept for five seconds, ids that are nobody's too, each up to a bound."""

    def __init__(self, keys: KeyStore, tokens: TokenJudge, clock: Clock) -> None:
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._known: OrderedDict[str, _Found] = OrderedDict()
        self._unknown: OrderedDict[str, _Found] = OrderedDict()  # apart, so that made-up ids never drive out real keys

    async def admit(self, authorization: str, method: str) -> Principal:
        """Who asks, when the key is good and may call `method`. Raises Unauthenticated's leaves, or ScopeMissing."""
        principal = await self._principal(authorization)
        principal.must_have(method)
        return principal

    async def _principal(self, authorization: str) -> Principal:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise NoKey(remedy=_NO_KEY_REMEDY)
        presented = read_key(text.strip())
        if presented is None:
            return await self._tokens.judge(text.strip())
        return identify(presented, await self._record(presented.key_id), self._clock.now())

    async def _record(self, key_id: str) -> KeyRecord | None:
        now = self._clock.monotonic()
        found = self._known.get(key_id) or self._unknown.get(key_id)
        if found is not None and now < found.until_s:
            return found.record
        record = await self._keys.find(key_id)
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        kept = self._unknown if record is None else self._known
        kept[key_id] = _Found(record, now + KEPT_S)  # counted from before the look-up, so the bound holds
        if len(kept) > _KEPT_MOST:
            kept.popitem(last=False)
        return record


class Bound:
    """So much of something at once, and no more."""

    def __init__(self, most: int, refusal: str, remedy: str) -> None:
        self._most = most
        self._taken = 0
        self._refusal = refusal
        self._remedy = remedy

    def take(self, amount: int = 1) -> None:
        """Raises TooManyInFlight when there is not enough left; give back what was taken."""
        if self._taken + amount > self._most:
            raise TooManyInFlight(self._refusal, remedy=self._remedy, retry_after_s=1.0)
        self._taken += amount

    def give_back(self, amount: int = 1) -> None:
        self._taken -= amount

    @contextmanager
    def taken(self, amount: int = 1) -> Iterator[None]:
        """Take inside the block."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)


class ShareBound:
    """So much at once for each of many, and no more."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: dict[str, int] = {}

    @contextmanager
    def taken(self, whose: str) -> Iterator[None]:
        """Take one inside the block. Raises TooManyInFlight."""
        taken = self._taken.get(whose, 0)
        if taken >= self._most:
            raise TooManyInFlight(
                f"{taken} {self._what} of this tenant, which is as many as it may have here", remedy="try again", retry_after_s=1.0
            )
        self._taken[whose] = taken + 1
        try:
            yield
        finally:
            if self._taken[whose] == 1:
                del self._taken[whose]
            else:
                self._taken[whose] -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much one gateway process carries at once, over both protocols, in all and of one tenant."""

    requests: int
    streams: int
    tenant_requests: int
    tenant_streams: int
    body_bytes: int


class Bounds:
    """What one gateway process carries at once."""

    def __init__(self, room: Room) -> None:
        self._requests = Bound(
            room.requests, f"{room.requests} requests are under way, which is as many as this gateway takes", "try again"
        )
        self._streams = Bound(
            room.streams, f"{room.streams} streams are open, which is as many as this gateway takes", "try again, or close streams"
        )
        self._tenant_requests = ShareBound(room.tenant_requests, "requests are under way")
        self._tenant_streams = ShareBound(room.tenant_streams, "streams are open")
        self.body_bytes = Bound(room.body_bytes, "the bodies under way fill this gateway's memory for them", "try again")

    def enter(self, tenant: str, stack: ExitStack, *, streaming: bool) -> None:
        """A place, in all and of the tenant's, until `stack` unwinds. Raises TooManyInFlight."""
        mine, all_ = (self._tenant_streams, self._streams) if streaming else (self._tenant_requests, self._requests)
        stack.enter_context(all_.taken())
        stack.enter_context(mine.taken(tenant))
