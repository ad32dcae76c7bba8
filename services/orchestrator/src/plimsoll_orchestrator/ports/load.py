"""How much work waits, over all tenants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLoad:
    tenant: str
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`waiting` runs could go on and no worker has them; the tenants are those with the most of them."""

    waiting: int
    oldest_wait_s: float
    finished_per_s: float
    tenants: Sequence[TenantLoad] = ()


class LoadGauge(Protocol):
    async def read(self) -> Load:
        """Now; raises Unavailable when the database is away."""
        ...
