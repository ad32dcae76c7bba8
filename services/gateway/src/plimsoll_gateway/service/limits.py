"""Rate limits per key and tenant: what a request takes of each, and what is left."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from plimsoll_runtime.breaker import Open
from plimsoll_runtime.guard import Decision, Entered, Upstream
from plimsoll_runtime.limiter import Limit, Limited, Rate

from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.errors import RateLimited

KEY, TENANT = "key", "tenant"
_WORDS = {KEY: "this key", TENANT: "this tenant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How one limit stands: `remaining` requests fit at once, and after `full_in_s` as many as ever."""

    name: str
    rate: Rate
    remaining: int
    full_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What keys and tenants may ask; `of_tenant` names those that have a rate of their own."""

    key: Rate
    tenant: Rate
    of_tenant: Mapping[str, Rate]


class Meter(Protocol):
    """Decides for the whole fleet; the guard of libs/runtime is one."""

    async def enter(self, upstream: Upstream, token: str) -> Decision: ...


class RateLimits:
    """A request counts against its key and its tenant, or, when one of the two is full, against neither."""

    def __init__(self, meter: Meter, rates: Rates) -> None:
        self._meter = meter
        self._rates = rates

    async def take(self, principal: Principal) -> "tuple[Quota, ...] | Limited":
        """What is left, or what is full."""
        limits = (
            Limit(name=f"{KEY}:{principal.key_id}", rate=self._rates.key),
            Limit(name=TENANT, rate=self._tenant_rate(principal.tenant)),
        )
        decision = await self._meter.enter(Upstream(name=f"door:{principal.tenant}", limits=limits), "")
        match decision:
            case Entered():
                return tuple(_quota(limit, empty) for limit, empty in zip(limits, decision.empty_in_s, strict=True))
            case Limited():
                return Limited(name=decision.name.partition(":")[0], retry_after_s=decision.retry_after_s)
            case Open():  # nothing behind the door is called under this name, so nothing can have failed
                return ()

    def refused(self, principal: Principal, limited: Limited) -> tuple[RateLimited, Quota]:
        """The refusal, and how the limit that is full stands."""
        rate = self._rates.key if limited.name == KEY else self._tenant_rate(principal.tenant)
        error = RateLimited(
            f"{_WORDS[limited.name]} may ask {rate.count} times in {rate.per_s:g} s",
            remedy="wait, and ask more evenly",
            retry_after_s=limited.retry_after_s,
        )
        return error, Quota(name=limited.name, rate=rate, remaining=0, full_in_s=limited.retry_after_s)

    def _tenant_rate(self, tenant: str) -> Rate:
        return self._rates.of_tenant.get(tenant, self._rates.tenant)


def _quota(limit: Limit, empty_in_s: float) -> Quota:
    taken = math.ceil(empty_in_s / limit.rate.interval_s - 1e-6)
    return Quota(
        name=limit.name.partition(":")[0],
        rate=limit.rate,
        remaining=max(0, limit.rate.at_once - taken),
        full_in_s=empty_in_s,
    )
