"""What exporting spans needs of what is outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from plimsoll_feedback.domain.operation import Operation, OperationId
from plimsoll_feedback.domain.spans import Span, Surroundings


class SurroundingsStore(Protocol):
    """Where operations stand, of all tenants."""

    async def around(self, operations: Sequence[Operation]) -> Mapping[tuple[str, OperationId], Surroundings]:
        """By tenant and operation."""
        ...


class Collector(Protocol):
    """Where spans go."""

    async def send(self, spans: Sequence[Span]) -> int:
        """How many of them it refused for good. Raises Unavailable or DeadlineExpired when it took none, SpansRefused when it takes none."""
        ...
