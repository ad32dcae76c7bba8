"""What the service needs of the store of operations and runs. Each method is one whole transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from plimsoll_feedback.domain.operation import FailureCounts, Operation, OperationFilter, OperationId, Run, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import Proposal, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What people were asked and what they said, as the journals tell it."""

    proposals: Sequence[Proposal] = field(default=())
    signals: Sequence[Signal] = field(default=())


NONE = Decisions()


class OperationStore(Protocol):
    """Keeps operations and which runs exist. Raises Unavailable or DeadlineExpired when it cannot be reached."""

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run], decisions: Decisions = NONE) -> None:
        """Store what is not stored yet, all or nothing; what is there already stays as it is. New decisions are announced."""
        ...

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        """Whether an entry of the run's journal has arrived, for this tenant."""
        ...

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        """Whether the run has this operation, for this tenant."""
        ...

    async def get(self, tenant: str, run_id: RunId, operation_id: OperationId) -> Operation | None:
        """The operation, if the run has it."""
        ...

    async def find(self, tenant: str, where: OperationFilter, page: PageRequest) -> Sequence[Operation]:
        """Up to page.size rows behind page.after: in order of time within a run, newest first across runs."""
        ...

    async def count_failures(self, tenant: str, window: Window, agent: str | None) -> FailureCounts:
        """Failures by category, the most frequent first; corrected labels win. What a call, its step and its run all report counts once."""
        ...
