"""The workers that are there: each says so from time to time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorker:
    """A worker as it last told of itself: `held` of its `slots` are taken."""

    name: str
    slots: int
    held: int
    version: str
    seen_at: datetime


class Workers(Protocol):
    async def beat(self, name: str, slots: int, held: int, version: str) -> None:
        """Say that the worker is there; those not heard of for a day are forgotten."""
        ...

    async def seen(self, within_s: float) -> Sequence[SeenWorker]:
        """Those that told of themselves of late, by name."""
        ...
