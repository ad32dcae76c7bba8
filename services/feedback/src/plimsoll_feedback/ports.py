"""What the service needs of its stores. Each method is one whole transaction."""

from collections.abc import Sequence
from typing import Protocol

from plimsoll_feedback.domain.operation import FailureCounts, Operation, OperationFilter, OperationId, Run, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import IdempotencyKey, Signal


class OperationStore(Protocol):
    """Keeps operations and which runs exist. Raises Unavailable or DeadlineExpired when it cannot be reached."""

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run]) -> None:
        """Store what is not stored yet, all or nothing; what is there already stays as it is."""
        ...

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        """Whether an entry of the run's journal has arrived, for this tenant."""
        ...

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        """Whether the run has this operation, for this tenant."""
        ...

    async def find(self, tenant: str, where: OperationFilter, page: PageRequest) -> Sequence[Operation]:
        """Up to page.size rows behind page.after: in order of time within a run, newest first across runs."""
        ...

    async def count_failures(self, tenant: str, window: Window, agent: str | None) -> FailureCounts:
        """Failures by category, the most frequent first. What a call, its step and its run all report counts once."""
        ...


class SignalStore(Protocol):
    """Keeps signals. Raises Unavailable or DeadlineExpired when it cannot be reached."""

    async def record(self, signal: Signal, key: IdempotencyKey | None) -> Signal:
        """Store the signal and announce it, or return the one that was stored under the key before.

        Raises IdempotencyKeyReused when the key's signal said something else.
        """
        ...

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        """Up to page.size signals of the run behind page.after, oldest first."""
        ...
