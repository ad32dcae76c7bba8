"""The ledger and its doubts in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from plimsoll_runtime.failures import Category, Failure
from plimsoll_testkit.clock import FakeClock
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import (
    Acted,
    CallState,
    Claim,
    Completed,
    Doubt,
    Finding,
    Found,
    GrantExpired,
    GrantRevoked,
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

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class _Entry:
    reservation: Reservation
    lease_until: datetime
    state: CallState = CallState.RESERVED
    fence: int = 1
    recorded: Recorded | None = None
    since: datetime = _BEGAN
    tries: int = 0
    doubt_at: datetime | None = None
    escalated: bool = False


@dataclass
class FakeCallLedger:
    """The ledger and its doubts in memory; leases run by the clock of the test."""

    clock: FakeClock
    announced: list[Completed] = field(default_factory=list)
    entries: dict[tuple[str, str], _Entry] = field(default_factory=dict)
    epochs: dict[tuple[str, str], int] = field(default_factory=dict)
    grants: dict[tuple[str, str], str] = field(default_factory=dict)
    read: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    escalations: list[str] = field(default_factory=list)

    async def reserve(self, reservation: Reservation) -> Reserved:
        call, grant = reservation.call, reservation.grant
        found = await self.find(call)
        if isinstance(found, StaleEpoch):
            return found
        self._raise(call)
        if not isinstance(found, NoEntry) or not reservation.may_begin:
            return found
        if grant is not None:
            spent_by = self.grants.get((call.tenant, grant.id), call.key)
            if spent_by != call.key:
                return GrantSpent() if spent_by else GrantRevoked()
            if grant.expires_at is not None and grant.expires_at <= self.clock.now():
                return GrantExpired()
            self.grants[call.tenant, grant.id] = call.key
        self.read.setdefault((call.tenant, call.work.run_id), set()).update(reservation.tool.labels)
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

    async def look_up(self, call: Call) -> Found:
        if call.first:
            return NoEntry()
        found = await self.find(call)
        if not isinstance(found, StaleEpoch):
            self._raise(call)
        return found

    async def record(self, reservation: Reservation, outcome: Outcome, completed: Completed) -> bool:
        call = reservation.call
        if not isinstance(await self.find(call), NoEntry):
            return False
        self._raise(call)
        self.read.setdefault((call.tenant, call.work.run_id), set()).update(reservation.tool.labels)
        entry = self.entries[call.tenant, call.key] = _Entry(reservation, self.clock.now())
        self._end(entry, outcome, completed.attempts, completed.duration_s)
        self.announced.append(completed)
        return True

    def _raise(self, call: Call) -> None:
        run = (call.tenant, call.work.run_id)
        self.epochs[run] = max(self.epochs.get(run, 0), call.work.epoch)

    async def labels(self, tenant: str, run_id: str) -> tuple[str, ...]:
        return tuple(sorted(self.read.get((tenant, run_id), ())))

    async def revoke(self, tenant: str, grant_id: str, by: str) -> bool:
        return self.grants.setdefault((tenant, grant_id), "") == ""

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

    async def due(self, limit: int, again_s: float) -> Sequence[Doubt]:
        entries = [entry for entry in self._doubtful() if entry.doubt_at is not None and entry.doubt_at <= self.clock.now()]
        for entry in entries[:limit]:
            entry.doubt_at = self._until(again_s)
            entry.tries += 1
        return [self._doubt(entry) for entry in entries[:limit]]

    async def escalate(self, doubt: Doubt, event_id: str) -> bool:
        entry = self._in_doubt(doubt)
        if entry is None or entry.escalated:
            return False
        entry.escalated, entry.doubt_at = True, None
        self.escalations.append(event_id)
        return True

    async def settle_doubt(self, doubt: Doubt, finding: Finding, by: str, event_id: str) -> bool:
        entry = self._in_doubt(doubt)
        if entry is None:
            return False
        entry.fence += 1
        match finding:
            case Acted(result=result):
                self._end(entry, Succeeded(result=result), 1, 0.0)
                given_up = _given_up(entry.reservation, doubt_failure(doubt), event_id, self.clock.now())
                self.announced.append(replace(given_up, failure=None, resolved_by=by))
            case _:
                entry.state, entry.recorded, entry.lease_until = CallState.RESERVED, None, self.clock.now()
        return True

    async def open_doubts(self, tenant: str, limit: int) -> Sequence[Doubt]:
        return [self._doubt(entry) for entry in self._doubtful() if entry.reservation.call.tenant == tenant][:limit]

    async def doubt(self, tenant: str, call_id: str) -> Doubt | None:
        found = [doubt for doubt in await self.open_doubts(tenant, len(self.entries)) if doubt.claim.call_id == call_id]
        return found[0] if found else None

    def _doubtful(self) -> list[_Entry]:
        return [entry for entry in self.entries.values() if entry.state is CallState.UNKNOWN]

    def _in_doubt(self, doubt: Doubt) -> _Entry | None:
        entry = self.entries.get((doubt.claim.tenant, doubt.claim.call_key))
        return entry if entry is not None and entry.state is CallState.UNKNOWN and entry.fence == doubt.claim.fence else None

    def _doubt(self, entry: _Entry) -> Doubt:
        asked = entry.reservation
        assert entry.recorded is not None
        assert isinstance(entry.recorded.outcome, Failed)
        return Doubt(
            claim=Claim(tenant=asked.call.tenant, call_key=asked.call.key, call_id=asked.call_id, fence=entry.fence),
            work=asked.call.work,
            tool=asked.tool.name,
            tool_digest=asked.tool.digest,
            arguments=asked.proposal.effective_arguments if asked.tool.effect is EffectClass.NON_IDEMPOTENT else None,
            reason=entry.recorded.outcome.failure.reason,
            since=entry.since,
            tries=entry.tries,
            escalated=entry.escalated,
        )

    def _held(self, claim: Claim) -> _Entry | None:
        entry = self.entries.get((claim.tenant, claim.call_key))
        return entry if entry is not None and entry.fence == claim.fence and entry.recorded is None else None

    def _end(self, entry: _Entry, outcome: Outcome, attempts: int, duration_s: float) -> None:
        entry.state = state_of(outcome)
        entry.since = self.clock.now()
        entry.doubt_at = self.clock.now() if entry.state is CallState.UNKNOWN else None
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


def doubt_failure(doubt: Doubt) -> Failure:
    return Failure(category=Category.OUTCOME_UNKNOWN, reason=doubt.reason, message="", where=doubt.tool)


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
