"""Texts as vectors without a model: hashed pieces of words, so that texts of the same words are near each other."""

import math
import zlib

from plimsoll_model_router.domain.rehearsal.text import character_terms, content_words, word_terms

DIMENSIONS = 256
_WORD_WEIGHT = 2.0  # a whole word says more than a piece of one


def vector(text: str) -> tuple[float, ...]:
    """A vector of unit length; of a text without words, the first axis."""
    found = content_words(text)
    sums = [0.0] * DIMENSIONS
    for weight, terms in ((_WORD_WEIGHT, word_terms(found)), (1.0, character_terms(found))):
        for term in terms:
            place = zlib.crc32(term.encode())
            sums[place % DIMENSIONS] += weight if place & 0x80000000 else -weight
    length = math.sqrt(math.fsum(value * value for value in sums))
    if not length:
        return (1.0, *([0.0] * (DIMENSIONS - 1)))
    return tuple(value / length for value in sums)
