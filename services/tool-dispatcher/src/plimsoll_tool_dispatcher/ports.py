"""What the service needs from outside."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from plimsoll_runtime.failures import Failure

from plimsoll_tool_dispatcher.domain.call import Call, Outcome
from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation
from plimsoll_tool_dispatcher.domain.ledger import Claim, Completed, Found, Reservation, Reserved, Unfinished
from plimsoll_tool_dispatcher.domain.tool import Tool

Pause: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for that many seconds."""

Draw: TypeAlias = Callable[[], float]
"""A random number from 0 up to 1."""


class ToolRegistry(Protocol):
    """The tools that there are now."""

    def find(self, tenant: str, name: str) -> Tool | None:
        """The tool's present definition, None when the tenant has no such tool."""
        ...

    def list(self, tenant: str) -> Sequence[Tool]:
        """All tools of the tenant, by name."""
        ...


class Executor(Protocol):
    """Runs one attempt of one call. Whatever goes wrong with the tool comes back as a value."""

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        """Never takes much longer than the invocation's timeout. When cancelled, the attempt is stopped as well."""
        ...


class CallLedger(Protocol):
    """What was dispatched and what became of it. Every method is one transaction; times are the database's."""

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Take the call key, spend the grant and raise the run's epoch, all or nothing; or tell what stands in the way."""
        ...

    async def find(self, call: Call) -> Found:
        """What is known about the call, without beginning it."""
        ...

    async def take_over(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        """Become the owner of a call whose owner went away; None when it changed meanwhile or must not run again."""
        ...

    async def mark_dispatched(self, claim: Claim, lease_s: float) -> bool:
        """Note that the call is about to be sent; False when the claim is lost."""
        ...

    async def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        """Keep the claims alive."""
        ...

    async def settle(self, claim: Claim, outcome: Outcome, completed: Completed) -> bool:
        """Record the outcome and announce it; False when the claim is lost, and then nothing is recorded."""
        ...

    async def release(self, claim: Claim, completed: Completed | None) -> None:
        """Give the claim back without an outcome, because nothing was sent: the next dispatch may run the call."""
        ...

    async def announce(self, completed: Completed) -> None:
        """Announce a call that was refused before it was reserved."""
        ...

    async def abandoned(self, limit: int) -> Sequence[Unfinished]:
        """Calls that were sent, must not be repeated, and whose owner went away."""
        ...

    async def give_up(self, entry: Unfinished, failure: Failure, event_id: str) -> bool:
        """Record an abandoned call as unknown and announce it; False when it changed meanwhile."""
        ...
