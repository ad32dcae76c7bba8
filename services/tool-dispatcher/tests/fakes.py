"""The ports in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.clock import FakeClock
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.ledger import (
    CallState,
    Claim,
    Completed,
    Found,
    GrantSpent,
    KeyTaken,
    NoEntry,
    Recorded,
    Reservation,
    Reserved,
    StaleEpoch,
    Unfinished,
    may_run_again,
    state_of,
)
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable

Function: TypeAlias = Callable[[JsonObject, ToolContext], Awaitable[JsonValue]]


class FakeToolRegistry:
    """Tools as the test puts them there."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self.tools = {tool.name: tool for tool in tools}

    def find(self, tenant: str, name: str) -> Tool | None:
        return self.tools.get(name)

    def list(self, tenant: str) -> Sequence[Tool]:
        return [self.tools[name] for name in sorted(self.tools)]


class Scripted(Exception):
    """Raised by a function of a FakeExecutor that ends an attempt in a way of the test's choice."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.attempt = attempt


class FakeExecutor:
    """Runs functions on the loop of the test."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.invocations: list[Invocation] = []
        self.cancelled = 0

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        self.invocations.append(invocation)
        context = ToolContext(tenant=invocation.tenant, call_key=invocation.call_key, deadline_s=invocation.timeout_s, credentials={})
        try:
            async with asyncio.timeout(invocation.timeout_s):
                return Answered(result=await self.functions[tool.name](invocation.arguments, context))
        except Scripted as scripted:
            return scripted.attempt
        except TimeoutError:
            return Stopped(failure=_failure(tool, Category.TIMEOUT, "TOOL_TIMEOUT"), mishap=Mishap.LOST)
        except ToolRejected as error:
            return Stopped(failure=_failure(tool, Category.UPSTREAM_REJECTED, error.reason, error.message))
        except ToolUnavailable as error:
            unavailable = _failure(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message)
            return Stopped(failure=replace(unavailable, retry_after_s=error.retry_after_s), mishap=Mishap.NOT_ACTED)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except Exception as error:  # noqa: BLE001 - what a handler raises is a value here
            mishap = Mishap.LOST if tool.effect is EffectClass.NON_IDEMPOTENT else None
            return Stopped(failure=_failure(tool, Category.TOOL_ERROR, "HANDLER_RAISED", type(error).__name__), mishap=mishap)


def _failure(tool: Tool, category: Category, reason: str, message: str = "as told") -> Failure:
    return Failure(category=category, reason=reason, message=message, where=tool.name)


@dataclass
class _Entry:
    reservation: Reservation
    lease_until: datetime
    state: CallState = CallState.RESERVED
    fence: int = 1
    recorded: Recorded | None = None


@dataclass
class FakeCallLedger:
    """The ledger in memory; leases run by the clock of the test."""

    clock: FakeClock
    announced: list[Completed] = field(default_factory=list)
    entries: dict[tuple[str, str], _Entry] = field(default_factory=dict)
    epochs: dict[tuple[str, str], int] = field(default_factory=dict)
    grants: dict[tuple[str, str], str] = field(default_factory=dict)

    async def reserve(self, reservation: Reservation) -> Reserved:
        call, grant = reservation.call, reservation.grant
        found = await self.find(call)
        if isinstance(found, StaleEpoch):
            return found
        run = (call.tenant, call.work.run_id)
        self.epochs[run] = max(self.epochs.get(run, 0), call.work.epoch)
        if not isinstance(found, NoEntry) or not reservation.may_begin:
            return found
        if grant is not None and self.grants.setdefault((call.tenant, grant.id), call.key) != call.key:
            return GrantSpent()
        self.entries[call.tenant, call.key] = _Entry(reservation, self._until(reservation.lease_s))
        return Claim(tenant=call.tenant, call_key=call.key, call_id=reservation.call_id, fence=1)

    async def find(self, call: Call) -> Found:
        await asyncio.sleep(0)
        highest = self.epochs.get((call.tenant, call.work.run_id), 0)
        if highest > call.work.epoch:
            return StaleEpoch(highest=highest)
        entry = self.entries.get((call.tenant, call.key))
        if entry is None:
            return NoEntry()
        if entry.reservation.call.request_digest != call.request_digest:
            return KeyTaken()
        return entry.recorded or self._unfinished(entry)

    async def take_over(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        known = self._held(entry.claim)
        if known is None or known.lease_until > self.clock.now() or not may_run_again(self._unfinished(known)):
            return None
        call, grant = reservation.call, reservation.grant
        if grant is not None and self.grants.setdefault((call.tenant, grant.id), call.key) != call.key:
            return None
        known.fence += 1
        known.state = CallState.RESERVED
        known.lease_until = self._until(reservation.lease_s)
        known.reservation = replace(reservation, call_id=entry.claim.call_id)
        return replace(entry.claim, fence=known.fence)

    async def mark_dispatched(self, claim: Claim, lease_s: float) -> bool:
        entry = self._held(claim)
        if entry is None or entry.state is not CallState.RESERVED:
            return False
        entry.state, entry.lease_until = CallState.DISPATCHED, self._until(lease_s)
        return True

    async def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        for claim in claims:
            if (entry := self._held(claim)) is not None:
                entry.lease_until = self._until(lease_s)

    async def settle(self, claim: Claim, outcome: Outcome, completed: Completed) -> bool:
        entry = self._held(claim)
        if entry is None:
            return False
        self._end(entry, outcome, completed.attempts, completed.duration_s)
        self.announced.append(completed)
        return True

    async def release(self, claim: Claim, completed: Completed | None) -> None:
        if (entry := self._held(claim)) is not None:
            entry.state, entry.lease_until = CallState.RESERVED, self.clock.now()
        if completed is not None:
            self.announced.append(completed)

    async def announce(self, completed: Completed) -> None:
        self.announced.append(completed)

    async def abandoned(self, limit: int) -> Sequence[Unfinished]:
        entries = [self._unfinished(entry) for entry in self.entries.values() if entry.recorded is None]
        return [entry for entry in entries if not entry.held and not may_run_again(entry)][:limit]

    async def give_up(self, entry: Unfinished, failure: Failure, event_id: str) -> bool:
        known = self._held(entry.claim)
        if known is None or known.state is not CallState.DISPATCHED or known.lease_until > self.clock.now():
            return False
        outcome = Failed(failure=failure)
        self._end(known, outcome, 1, 0.0)
        self.announced.append(_given_up(known.reservation, failure, event_id, self.clock.now()))
        return True

    def _held(self, claim: Claim) -> _Entry | None:
        entry = self.entries.get((claim.tenant, claim.call_key))
        return entry if entry is not None and entry.fence == claim.fence and entry.recorded is None else None

    def _end(self, entry: _Entry, outcome: Outcome, attempts: int, duration_s: float) -> None:
        entry.state = state_of(outcome)
        entry.recorded = Recorded(call_id=entry.reservation.call_id, outcome=outcome, attempts=attempts, duration_s=duration_s)

    def _until(self, lease_s: float) -> datetime:
        return self.clock.now() + timedelta(seconds=lease_s)

    def _unfinished(self, entry: _Entry) -> Unfinished:
        asked = entry.reservation
        return Unfinished(
            claim=Claim(tenant=asked.call.tenant, call_key=asked.call.key, call_id=asked.call_id, fence=entry.fence),
            tool=asked.tool.name,
            state=entry.state,
            effect=asked.tool.effect,
            call_digest=asked.proposal.call_digest,
            held=entry.lease_until > self.clock.now(),
        )


def _given_up(asked: Reservation, failure: Failure, event_id: str, at: datetime) -> Completed:
    return Completed(
        event_id=event_id,
        tenant=asked.call.tenant,
        call_id=asked.call_id,
        call_key=asked.call.key,
        work=asked.call.work,
        tool=asked.tool.name,
        tool_digest=asked.tool.digest,
        started_at=at,
        duration_s=0.0,
        attempts=1,
        failure=failure,
        grant_id=asked.grant.id if asked.grant else "",
    )
