"""Budgets held in advance: who calls often takes what a call may consume from a part of the budget that this replica holds already.

A lease is reserved in the ledger like a call, so that no cap is ever exceeded, by however many replicas. It is small beside the room that is
left, and short: a budget that changes holds for everybody within about a second, and what is not used is given back. The next one is asked
for before it is used up, so that of those who call all the time nobody waits for the ledger.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import Opened, Opening

LASTS_S = 1.0
_AHEAD_S = 0.25  # so long before its end the next one is asked for
_LOW = 4  # or with less than one part in so many left
_HOT = 3  # calls within a second, after which the next ones are expected
_CALLS = 512  # that a lease is for at the most
_SHARE = 16  # of the room that is left, one part in so many
_LEAST = 4  # calls that a lease has to be worth
_MOST_PAYERS = 10_000
_Payer: TypeAlias = tuple[str, str, str, str]


@dataclass(slots=True, kw_only=True)
class Lease:
    """What is left of it is `tokens` and `micros`; `under_way` are calls that have taken from it and are not settled, `room` is what the
    budgets had left behind it, and `renewed` says that the next one was thought of."""

    first: Opening
    opened: Opened
    until: float
    size: Estimate
    room: Estimate
    tokens: int
    micros: int
    under_way: int = 0
    renewed: bool = False

    @property
    def lease_id(self) -> str:
        """Empty where nothing is capped: then nothing needs to be held."""
        return f"lease_{self.first.call_id}" if self.opened.capped else ""

    def fits(self, wanted: Estimate) -> bool:
        opened = self.opened
        return not (opened.caps_tokens and self.tokens < wanted.tokens) and not (opened.caps_money and self.micros < wanted.cost_micros)

    def is_ending(self, now: float) -> bool:
        """Whether it is nearly over, or nearly used up."""
        quarter = Estimate(tokens=self.size.tokens // _LOW, cost_micros=self.size.cost_micros // _LOW)
        return not self.fits(quarter) or now >= self.until - _AHEAD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A lease that should be asked for."""

    opening: Opening
    opened: Opened
    size: Estimate

    def asked(self) -> JsonObject:
        """As the ledger's function takes it."""
        return asked(self.opening, self.size) | {"call_id": f"lease_{self.opening.call_id}", "request_key": "", "fingerprint": ""}


@dataclass(slots=True, kw_only=True)
class _Standing:
    lease: Lease | None = None
    recent: list[float] = field(default_factory=list)


class Leases:
    """`wishes` are leases to ask for, `over` those to be given back; both are the ledger's to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._payers: OrderedDict[_Payer, _Standing] = OrderedDict()
        self._taken: dict[str, tuple[Lease, Estimate]] = {}
        self._ended: list[Lease] = []
        self.wishes: dict[_Payer, Wish] = {}

    def take(self, opening: Opening) -> Opened | None:
        """Whether a lease covers the call. None: it has to be opened in the ledger."""
        known = self._payers.get(_payer(opening))
        if known is None or known.lease is None:
            return None
        lease = known.lease
        if (now := self._clock.monotonic()) >= lease.until:
            self._end(known)
            known.recent = [now] * _HOT  # the next one is asked for by the next call
            return None
        if not lease.fits(opening.wanted):
            return None
        self._spend(lease, opening.wanted)
        lease.under_way += 1
        self._taken[opening.call_id] = (lease, opening.wanted)
        if not lease.renewed and lease.opened.capped and lease.is_ending(now):
            self._renew(lease, opening)
        return lease.opened

    def extend(self, call_id: str, more: Estimate) -> bool:
        """Whether the call's lease covers more for it. It may not be of a lease at all."""
        lease, held = self._taken[call_id]
        if not lease.fits(more):
            return False
        self._spend(lease, more)
        self._hold(call_id, lease, held, more)
        return True

    def extended(self, call_id: str, more: Estimate) -> None:
        """The ledger reserved more under the call's lease, for the call."""
        lease, held = self._taken[call_id]
        self._hold(call_id, lease, held, more)

    def lease_of(self, call_id: str) -> str | None:
        """The lease that the call took from; None when it is not of one."""
        taken = self._taken.get(call_id)
        return taken[0].lease_id if taken is not None else None

    def settled(self, call_id: str, usage: Usage) -> None:
        """The ledger has what the call consumed; the rest of what it held is free again."""
        taken = self._taken.pop(call_id, None)
        if taken is not None:
            lease, held = taken
            lease.tokens += held.tokens - usage.input_tokens - usage.output_tokens
            lease.micros += held.cost_micros - usage.cost_micros
            lease.under_way -= 1

    def lost(self, call_id: str) -> None:
        """The call will never be settled: what it held counts as spent when its lease ends."""
        taken = self._taken.pop(call_id, None)
        if taken is not None:
            taken[0].under_way -= 1

    def note(self, opening: Opening, opened: Opened, room: Estimate) -> None:
        """A call was opened in the ledger, which has so much room left. Who calls often should hold a lease."""
        key, now = _payer(opening), self._clock.monotonic()
        known = self._payers.setdefault(key, _Standing())
        self._payers.move_to_end(key)
        known.recent = [*(at for at in known.recent[-_HOT:] if at > now - LASTS_S), now]
        self._forget()
        if len(known.recent) < _HOT or key in self.wishes or self._covered(known, opening):
            return
        size = _size(opening.wanted, opened, room)
        if size is not None:
            self.wishes[key] = Wish(opening=opening, opened=opened, size=size)

    def hold(self, wish: Wish, opened: Opened, room: Estimate) -> Lease:
        """The ledger reserved it, and has so much room left. Where other things are capped by now it covers nobody, and is given back."""
        known = self._payers.setdefault(_payer(wish.opening), _Standing())
        if known.lease is not None:
            self._end(known)
        lease = Lease(
            first=wish.opening,
            opened=wish.opened,
            until=self._clock.monotonic() + LASTS_S,
            size=wish.size,
            room=room,
            tokens=wish.size.tokens,
            micros=wish.size.cost_micros,
        )
        if opened == wish.opened:
            known.lease = lease
        else:
            self._ended.append(lease)
        return lease

    def over(self, *, all_of_them: bool = False) -> Iterator[Lease]:
        """Leases that have ended and whose calls are settled. Each is told once; with `all_of_them` those that last, too."""
        now = self._clock.monotonic()
        for known in list(self._payers.values()):
            if known.lease is not None and (all_of_them or now >= known.lease.until):
                self._end(known)
        done = [lease for lease in self._ended if not lease.under_way]
        self._ended = [lease for lease in self._ended if lease.under_way]
        yield from (lease for lease in done if lease.lease_id)

    def not_over(self, lease: Lease) -> None:
        """It could not be given back; it is told again."""
        self._ended.append(lease)

    def _renew(self, lease: Lease, opening: Opening) -> None:
        """Where nothing is capped nothing is reserved, and the next call has to ask whether that is still so."""
        lease.renewed = True
        size = _size(opening.wanted, lease.opened, lease.room)
        if size is not None:
            self.wishes.setdefault(_payer(opening), Wish(opening=opening, opened=lease.opened, size=size))

    def _covered(self, known: _Standing, opening: Opening) -> bool:
        """Whether a lease came while the call was opened: another one beside it would only hold more."""
        lease = known.lease
        return lease is not None and self._clock.monotonic() < lease.until and lease.fits(opening.wanted)

    def _end(self, known: _Standing) -> None:
        if known.lease is not None:
            self._ended.append(known.lease)
            known.lease = None

    def _spend(self, lease: Lease, wanted: Estimate) -> None:
        lease.tokens -= wanted.tokens
        lease.micros -= wanted.cost_micros

    def _hold(self, call_id: str, lease: Lease, held: Estimate, more: Estimate) -> None:
        self._taken[call_id] = (lease, Estimate(tokens=held.tokens + more.tokens, cost_micros=held.cost_micros + more.cost_micros))

    def _forget(self) -> None:
        while len(self._payers) > _MOST_PAYERS:
            self._end(self._payers.popitem(last=False)[1])


def asked(opening: Opening, wanted: Estimate) -> JsonObject:
    """A call as the ledger's function takes it."""
    return {
        "tenant": opening.tenant,
        "call_id": opening.call_id,
        "request_key": opening.request_key,
        "fingerprint": opening.fingerprint,
        "agent": opening.agent,
        "key": opening.key,
        "purpose": opening.purpose.value,
        "tokens": wanted.tokens,
        "micros": wanted.cost_micros,
        "extends": False,
        "closes": False,
    }


def _payer(opening: Opening) -> _Payer:
    return opening.tenant, opening.agent, opening.key, opening.purpose.value


def _size(wanted: Estimate, opened: Opened, room: Estimate) -> Estimate | None:
    """What a lease should hold; None when it would be a call or two: near its cap, a budget is used to the last token."""
    tokens = min(_CALLS * wanted.tokens, room.tokens // _SHARE) if opened.caps_tokens else 0
    micros = min(_CALLS * wanted.cost_micros, room.cost_micros // _SHARE) if opened.caps_money else 0
    if (opened.caps_tokens and tokens < _LEAST * wanted.tokens) or (opened.caps_money and micros < _LEAST * wanted.cost_micros):
        return None
    return Estimate(tokens=tokens, cost_micros=micros)
