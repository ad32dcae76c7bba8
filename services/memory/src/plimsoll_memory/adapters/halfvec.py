"""Vectors as pgvector reads them."""

from plimsoll_memory.domain.document import Vector


def halfvec_text(vector: Vector) -> str:
    """The text of a halfvec: four digits are what its 16-bit numbers hold."""
    return "[" + ",".join([f"{value:.4g}" for value in vector]) + "]"
