"""Identifiers: a prefix that names the noun, then 26 characters that sort by time of creation (the ULID layout)."""

import os
import time
from typing import Protocol

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A fresh id such as `run_01JD…`."""
        ...


class RandomIds:
    """48 bits of milliseconds, then 80 random bits."""

    def new(self, prefix: str) -> str:
        number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
        return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
