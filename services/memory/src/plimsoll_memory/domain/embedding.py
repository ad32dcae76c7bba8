"""Embedders by name: which are learned from a collection's own words, and what a vector may be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

HASHING = "hashing-384-v1"
"""The embedder a collection begins with: needs nothing but the text."""
LATENT = "latent-128-v1"
"""The family of embedders learned from a collection; each learning is another one, `latent-128-v1.3`."""
LATENT_DIMENSIONS = 128
LATENT_FLOOR = 0.15
"""Cosine similarity under which a match means nothing: two passages of one subject have 0.06 in the middle."""
LATENT_WEIGHT = 1.0

_GENERATION = re.compile(re.escape(LATENT) + r"\.\d+")


def is_learned(embedder: str) -> bool:
    """Whether it is a learning of the latent family."""
    return _GENERATION.fullmatch(embedder) is not None


def learned(generation: int) -> str:
    """The name of one learning."""
    return f"{LATENT}.{generation}"


def dimensions_of(vector: Sequence[float] | None) -> int:
    """How many numbers the vectors have; a learned one is not at hand."""
    return LATENT_DIMENSIONS if vector is None else len(vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What an embedder is learned from.

    lexemes   the words that count, each by its number
    rarities  how much each says
    passages  a sample, each as the numbers of its words, packed as 32-bit integers
    """

    lexemes: Sequence[str]
    rarities: Sequence[float]
    passages: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projections:
    """What was learned: where each lexeme points, as rows of 16-bit floats."""

    lexemes: Sequence[str]
    rows: bytes = field(repr=False)
