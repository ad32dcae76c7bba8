"""What the service needs of the store of signals. Each method is one whole transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from plimsoll_feedback.domain.operation import RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import IdempotencyKey, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A signal to record, under the key of its request if it has one."""

    signal: Signal
    key: IdempotencyKey | None


class SignalStore(Protocol):
    """Keeps signals. Raises Unavailable or DeadlineExpired when it cannot be reached."""

    async def record(self, signal: Signal, key: IdempotencyKey | None) -> Signal:
        """Store the signal and announce it, or return the one that was stored under the key before.

        Raises IdempotencyKeyReused when the key's signal said something else.
        """
        ...

    async def record_all(self, tenant: str, signals: Sequence[Keyed]) -> Sequence[Signal | None]:
        """The same for many at once, in one transaction; None in place of one whose key said something else."""
        ...

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        """Up to page.size signals of the run behind page.after, oldest first."""
        ...
