"""What comes from embedders of others, before it is believed."""

from array import array
from collections.abc import Iterable, Sequence
from math import isfinite, sqrt

from plimsoll_runtime.errors import Unavailable

from plimsoll_memory.domain.document import Vector

_MOST_DIMENSIONS = 4_000  # what the index of half vectors takes


class EmbedderDiffers(Unavailable):
    """The embedder answered with vectors that cannot be those of its name."""

    reason = "EMBEDDER_DIFFERS"


def checked(name: str, vectors: Sequence[Iterable[float]], count: int, dimensions: int) -> Sequence[Vector]:
    """The vectors at length one. Raises EmbedderDiffers when there are not as many as texts, or of another dimension than before (0: none)."""
    made = [_unit(array("f", vector)) for vector in vectors]
    if len(made) != count:
        raise EmbedderDiffers(f"{name} gave {len(made)} vectors for {count} texts")
    expected = dimensions or (len(made[0]) if made else 0)
    if not 0 < expected <= _MOST_DIMENSIONS and made:
        raise EmbedderDiffers(f"{name} gives vectors of {expected} dimensions", remedy=f"use a model of up to {_MOST_DIMENSIONS}")
    for vector in made:
        if len(vector) != expected:
            raise EmbedderDiffers(
                f"{name} gave {len(vector)} dimensions after {expected}", remedy="configure the changed model under another name"
            )
        if not all(map(isfinite, vector)):
            raise EmbedderDiffers(f"{name} gave a vector that holds no numbers")
    return made


def _unit(vector: "array[float]") -> "array[float]":
    length = sqrt(sum(value * value for value in vector))
    return array("f", (value / length for value in vector)) if length and isfinite(length) else vector
