"""What finding mistakes needs of the store. Each method is one whole transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import Operation, OperationId
from plimsoll_feedback.domain.signal import Signal
from plimsoll_feedback.ports.feed import Turn


class LabelStore(Protocol):
    """Keeps what was found afterwards, and shows what the rules look at, of all tenants."""

    async def calls(self, steps: Sequence[Operation]) -> Mapping[tuple[str, OperationId], Sequence[Operation]]:
        """The model and tool calls of each step, by tenant and step."""
        ...

    async def judged(self, signals: Sequence[Signal]) -> Mapping[str, tuple[Signal, Operation]]:
        """Each of the signals that is about an operation, whole, with that operation; by the signal's id."""
        ...

    async def add(self, findings: Sequence[Finding], turn: Turn) -> bool:
        """Store what is new, with the follower's place; False, and nothing stored, when the turn is over."""
        ...
