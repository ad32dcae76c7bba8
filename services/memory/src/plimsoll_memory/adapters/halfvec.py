"""Vectors as pgvector reads them."""

import struct
from collections.abc import Iterator

from plimsoll_memory.domain.document import Vector


def halfvec_text(vector: Vector) -> str:
    """The text of a halfvec: four digits are what its 16-bit numbers hold."""
    return "[" + ",".join([f"{value:.4g}" for value in vector]) + "]"


def rows_of_halfvec(packed: bytes, dimensions: int) -> Iterator[str]:
    """The text of each row of packed 16-bit numbers."""
    return map(halfvec_text, struct.iter_unpack(f"<{dimensions}e", packed))
