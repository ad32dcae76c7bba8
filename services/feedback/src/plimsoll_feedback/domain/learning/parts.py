"""The held-out split: which part a conversation belongs to, by a hash that never changes."""

import hashlib
from enum import StrEnum

HELD_OUT_PERCENT = 30
"""Never changed: a conversation that moved from one part to the other would have been learned from and then asked."""


class Part(StrEnum):
    TRAINING = "training"
    HELD_OUT = "held_out"


def part_of(tenant: str, conversation: str) -> Part:
    """The same for every dataset, so that no dataset trains on what another one asks."""
    return Part.HELD_OUT if bucket(tenant, conversation) < HELD_OUT_PERCENT * 100 else Part.TRAINING


def bucket(*names: str) -> int:
    """0 to 9,999, by a stable hash of the names."""
    told = "\x1f".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(told).digest()[:8]) % 10_000
