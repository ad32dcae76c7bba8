"""What every request passes, over both protocols, before anybody behind the door hears of it: who asks, whether there is room, how often."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from dataclasses import dataclass

from plimsoll_runtime.errors import Exhausted, Internal
from plimsoll_runtime.limiter import Limited

from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.service.access import Access, Bounds
from plimsoll_gateway.service.limits import Quota, RateLimits
from plimsoll_gateway.service.usage import UsageCounts


@dataclass(slots=True)
class Visit:
    """What is known of a request that comes in; filled on its way, so that a refusal can be told with what was known by then."""

    principal: Principal | None = None
    quotas: tuple[Quota, ...] = ()


_HELD = frozenset({"PollRun"})  # waits as a stream does, and takes a place among them

_visitor: ContextVar[Principal | None] = ContextVar("plimsoll_visitor", default=None)


def visitor() -> Principal:
    """Who was let in with the present request. Raises Internal outside of one."""
    principal = _visitor.get()
    if principal is None:
        raise Internal("nobody was let in: this code runs outside of a request", reason="NO_CALLER")
    return principal


class Doorway:
    def __init__(self, access: Access, bounds: Bounds, limits: RateLimits, usage: UsageCounts) -> None:
        self._access = access
        self._usage = usage
        self._bounds = bounds
        self._limits = limits

    @property
    def body_room(self) -> Callable[[int], AbstractContextManager[None]]:
        """Room in memory for a body of so many bytes."""
        return self._bounds.body_bytes.taken

    async def enter(self, visit: Visit, authorization: str, method: str, stack: ExitStack, *, streaming: bool) -> Principal:
        """Let the request in; its place is kept until `stack` unwinds.

        Raises Unauthenticated's leaves, ScopeMissing, TooManyInFlight or RateLimited.
        """
        principal = visit.principal = await self._access.admit(authorization, method)
        _visitor.set(principal)
        try:
            self._bounds.enter(principal.tenant, stack, streaming=streaming or method in _HELD)
            visit.quotas = await self._take(visit, principal)
        except Exhausted:
            self._usage.note(principal, let_in=False)
            raise
        self._usage.note(principal, let_in=True)
        return principal

    async def _take(self, visit: Visit, principal: Principal) -> tuple[Quota, ...]:
        taken = await self._limits.take(principal)
        if isinstance(taken, Limited):
            error, quota = self._limits.refused(principal, taken)
            visit.quotas = (quota,)
            raise error
        return taken
