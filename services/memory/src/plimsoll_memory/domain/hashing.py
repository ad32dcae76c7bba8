"""The hashing embedding: words and pieces of words hashed into a vector, without any learned weights.

Texts that share words, or parts of words, get similar vectors: it finds inflections, compounds and misspellings that full text
search misses. It knows nothing of meaning. The same text gives the same vector on every machine, forever, under one name.
"""

import re
import unicodedata
import zlib
from array import array
from collections import Counter
from functools import lru_cache
from math import log, sqrt

DIMENSIONS = 384
NAME = f"hashing-{DIMENSIONS}-v1"

_WORD = re.compile(r"\w+")
_LONGEST = 40  # characters of a word that count
_STEM = 5  # characters: most inflection is behind them
_GRAMS = (3, 4, 5)
_GRAM_WEIGHT = 0.3  # beside 1 for the stem
_SIGN = 1 << 31
_GRAM_MARK = zlib.crc32(b"#")  # goes before every gram, so that none falls together with a stem
_REMEMBERED = 30_000  # words, about 100 bytes each
_STOP = (
    "a about above after again against all also am an and any are as at be because been before being below between both but by can"
    " cannot could did do does doing down during each either else ever few for from further get had has have having he her here hers"
    " him his how however i if in into is it its itself just may me might more most must my no nor not of off on once only or other"
    " ought our ours out over own per same shall she should since so some such than that the their theirs them then there these they"
    " this those though through thus to too under until up upon us very was we were what when where whether which while who whom whose"
    " why will with within without would yet you your yours"
)
_STOP_WORDS = frozenset(_STOP.split())


class HashingSpace:
    """Embeds texts; remembers the hashes of recent words, which is most of the work."""

    def __init__(self) -> None:
        self._features = lru_cache(maxsize=_REMEMBERED)(_features)

    def embed(self, text: str) -> "array[float]":
        """The unit vector of a text; all zero when it has no word that counts."""
        vector = [0.0] * (DIMENSIONS + 1)  # features count from 1, so that a sign fits on them
        for word, count in Counter(_words(text)).items():
            often = 1 + log(count)
            stem, *grams = self._features(word)
            vector[abs(stem)] += often if stem > 0 else -often
            often *= _GRAM_WEIGHT
            for gram in grams:
                if gram > 0:
                    vector[gram] += often
                else:
                    vector[-gram] -= often
        length = sqrt(sum(value * value for value in vector)) or 1.0
        return array("f", (value / length for value in vector[1:]))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word[:_LONGEST] for word in _WORD.findall(folded) if word not in _STOP_WORDS]


def _features(word: str) -> "array[int]":
    """The word's stem, then its character n-grams, each as a signed place in the vector."""
    marked = f"\x02{word}\x03"
    grams = dict.fromkeys([marked[at : at + size] for size in _GRAMS for at in range(len(marked) - size + 1)])
    sums = [zlib.crc32(word[:_STEM].encode()), *[zlib.crc32(gram.encode(), _GRAM_MARK) for gram in grams]]
    return array("h", [number % DIMENSIONS + 1 if number & _SIGN else -(number % DIMENSIONS + 1) for number in sums])
