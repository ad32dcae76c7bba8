"""What the service needs of the store of traces. Each method is one whole transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.trace import Trace, TraceFilter, TracePage

Subject: TypeAlias = tuple[RunId, OperationId | None]
"""A run, or an operation of it."""


class TraceStore(Protocol):
    """Reads runs and their timelines. Raises Unavailable or DeadlineExpired when it cannot be reached."""

    async def find(self, tenant: str, where: TraceFilter, page: PageRequest) -> Sequence[Trace]:
        """Up to page.size runs behind page.after, newest first."""
        ...

    async def get(self, tenant: str, run_id: RunId, page: PageRequest) -> TracePage | None:
        """The run with up to page.size entries of its timeline behind page.after; None when no entry of its journal has arrived."""
        ...

    async def annotate(self, tenant: str, run_id: RunId, add: Sequence[str], remove: Sequence[str]) -> Trace | None:
        """The run with its tags changed; None when there is none. Raises TooManyTags."""
        ...

    async def tagged(self, tenant: str, tags: Sequence[str]) -> Mapping[str, Sequence[RunId]]:
        """Which runs bear each of the tags; at most two a tag, because a third would not matter."""
        ...

    async def known(self, tenant: str, subjects: Sequence[Subject]) -> frozenset[Subject]:
        """Which of these exist, for this tenant: runs that an entry of a journal told of, and operations in them."""
        ...
