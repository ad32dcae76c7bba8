"""Rate limits: GCRA, which spreads calls evenly after a burst and knows exactly when the next one fits.

One key per limit holds the time at which the limit is empty again. In Redis the decision is one Lua call on the server's clock
(`guard.Guard` sends it); `LocalLimiter` means the same for one process while Redis is away.
"""

from collections import OrderedDict
from dataclasses import dataclass

from plimsoll_runtime.clock import Clock

_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`count` calls in `per_s` seconds; `burst` of them at once (0 means all `count`)."""

    count: int
    per_s: float = 1.0
    burst: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_s <= 0 or self.burst < 0:
            raise ValueError("a rate needs a count of 1 or more, a positive time and no negative burst")

    @property
    def interval_s(self) -> float:
        """Between two calls that come evenly."""
        return self.per_s / self.count

    @property
    def at_once(self) -> int:
        return self.burst or self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit that a call has to fit into, such as one tenant's share of an upstream; `cost` is what the call takes of it."""

    name: str
    rate: Rate
    cost: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.cost <= self.rate.at_once:
            raise ValueError(f"a cost of {self.cost} never fits into a burst of {self.rate.at_once}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Refused: the limit `name` is full, and the same call fits after `retry_after_s`, if no other comes first."""

    name: str
    retry_after_s: float


class LocalLimiter:
    """The same limits within one process.

    `share` is the part of every rate that this process grants: with `share = 1 / replicas` all of them together stay within it.
    Memory is bounded: of more than 10,000 limits those not used for longest are forgotten.
    """

    def __init__(self, clock: Clock, *, share: float = 1.0) -> None:
        self._clock = clock
        self._share = share
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def refusal(self, prefix: str, limits: tuple[Limit, ...]) -> Limited | None:
        """The limit that keeps the call out for longest, None when it fits into all. Takes nothing."""
        now = self._clock.monotonic()
        refusals = []
        for limit in limits:
            interval = limit.rate.interval_s / self._share
            burst = max(limit.cost, limit.rate.at_once * self._share)
            wait_s = max(now, self._empty_at.get(prefix + limit.name, now)) + (limit.cost - burst) * interval - now
            if wait_s > 1e-9:  # less is rounding
                refusals.append(Limited(name=limit.name, retry_after_s=wait_s))
        return max(refusals, key=lambda refusal: refusal.retry_after_s, default=None)

    def take(self, prefix: str, limits: tuple[Limit, ...]) -> tuple[float, ...]:
        """Count the call; for each limit, how long until nothing of it is taken."""
        now = self._clock.monotonic()
        for limit in limits:
            key = prefix + limit.name
            self._empty_at[key] = max(now, self._empty_at.get(key, now)) + limit.cost * limit.rate.interval_s / self._share
            self._empty_at.move_to_end(key)
        empty_in_s = tuple(self._empty_at[prefix + limit.name] - now for limit in limits)
        while len(self._empty_at) > _MOST_KEYS:
            self._empty_at.popitem(last=False)
        return empty_in_s
