"""Who keeps the bodies of operations."""

from typing import Protocol

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.operation import Operation


class Bodies(Protocol):
    """The services that keep prompts, answers, arguments, results and deltas."""

    async def of(self, tenant: str, operation: Operation) -> Body:
        """The body, as far as it is kept. Raises Unavailable or DeadlineExpired when its owner cannot be reached."""
        ...
