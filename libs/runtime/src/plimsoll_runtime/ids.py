"""Identifiers: a prefix that names the noun, then 26 characters that sort by time of creation (the ULID layout)."""

import os
import time
from typing import Protocol

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A fresh id such as `run_01JD…`."""
        ...


class RandomIds:
    """48 bits of milliseconds, then 80 random bits."""

    def new(self, prefix: str) -> str:
        number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
        return f"{prefix}_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
