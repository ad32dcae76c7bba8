"""How everything that is stored is followed, exactly once and in one order, by those that work on it afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from plimsoll_feedback.domain.operation import Operation
from plimsoll_feedback.domain.signal import Signal

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right of one follower's replica to handle a batch, and where the batch ends."""

    follower: str
    holder: str
    recorded_in: str
    tenant: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[T]):
    """Rows behind the follower's place, and the turn to handle them."""

    rows: Sequence[T]
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSignal:
    """A signal with the agent of its run, and the names and versions of the prompts that it judges."""

    signal: Signal
    agent: str
    agent_version: str
    prompts: tuple[tuple[str, str], ...] = ()


class Feed(Protocol[T]):
    """Rows in the order of the transactions that stored them; none is passed over, however transactions overlap."""

    async def claim(self, follower: str, holder: str, limit: int, settled_s: float = 0.0) -> Batch[T] | None:
        """The rows behind the follower's place, stored at least `settled_s` ago; None while another replica has the turn, or none is new."""
        ...

    async def move(self, turn: Turn) -> bool:
        """Note that the batch is handled; False when the turn was over before."""
        ...


class OperationFeed(Feed[Operation], Protocol):
    """Follows operations of all tenants."""


class SignalFeed(Feed[AgentSignal], Protocol):
    """Follows signals of all tenants."""
