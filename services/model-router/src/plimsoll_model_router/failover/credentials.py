"""Credentials of each provider: used in turn, and cooled down singly."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.failures import Category
from plimsoll_runtime.limiter import Limit, Rate

from plimsoll_model_router.domain.endpoints import NO_CREDENTIAL, Credential
from plimsoll_model_router.errors import ProviderError, Remedy

_REFUSED_S = 300.0  # a key that was refused may be let in again; its owner has to act first
_LIMITED_S = 5.0  # when the provider does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialLimits:
    """What one credential may do in a minute; 0 means no limit."""

    requests: int = 0
    tokens: int = 0

    def limits(self, credential: str, tokens: int) -> tuple[Limit, ...]:
        """What an attempt with about so many tokens has to fit into. More than a whole minute's tokens take the whole minute."""
        found = (_a_minute(f"{credential}:requests", self.requests, 1),) if self.requests else ()
        if not self.tokens:
            return found
        return (*found, _a_minute(f"{credential}:tokens", self.tokens, min(max(1, tokens), self.tokens)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """All credentials of the provider are cooling down; the first is back after `retry_after_s`."""

    retry_after_s: float


@lru_cache(4096)  # every attempt asks, of a few credentials
def _a_minute(name: str, count: int, cost: int) -> Limit:
    return Limit(name=name, rate=Rate(count=count, per_s=60.0), cost=cost)


class Credentials:
    def __init__(self, by_provider: Mapping[str, Sequence[Credential]], clock: Clock) -> None:
        self._by_provider = by_provider
        self._clock = clock
        self._cool_until: dict[tuple[str, str], float] = {}  # bounded by the configuration
        self._turn = 0

    def pick(self, provider: str, affinity: str, avoided: frozenset[str] = frozenset()) -> Credential | Cooling:
        """The credential whose turn it is. Calls of one affinity keep to one, as long as it is not cooling down."""
        listed = self._by_provider.get(provider) or (NO_CREDENTIAL,)
        self._turn += 1
        start = zlib.crc32(affinity.encode()) if affinity else self._turn
        inturn = [listed[(start + step) % len(listed)] for step in range(len(listed))]
        now = self._clock.monotonic()
        free = [one for one in inturn if one.name not in avoided and self._cool_until.get((provider, one.name), 0.0) <= now]
        if free:
            return free[0]
        waits = [self._cool_until.get((provider, one.name), now) - now for one in inturn]
        return Cooling(retry_after_s=max(0.0, min(waits)))

    def others(self, provider: str, used: frozenset[str]) -> bool:
        """Whether another credential could be used at once."""
        return isinstance(self.pick(provider, "", used), Credential)

    def note(self, provider: str, credential: Credential, error: ProviderError) -> None:
        """Cool a credential down that was refused or limited."""
        if error.remedy is Remedy.NEXT_CREDENTIAL:
            seconds = error.failure.retry_after_s or _REFUSED_S
        elif error.failure.category is Category.RATE_LIMITED and error.sent:
            seconds = error.failure.retry_after_s if error.failure.retry_after_s is not None else _LIMITED_S
        else:
            return
        self._cool_until[provider, credential.name] = self._clock.monotonic() + seconds
