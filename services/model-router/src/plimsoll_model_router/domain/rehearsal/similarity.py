"""How alike texts are: a tf-idf space of words, word pairs and character pieces, fitted on the texts of one context."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plimsoll_model_router.domain.rehearsal.text import character_terms, word_terms, words

_WORD_SHARE = 0.4  # of a vector's squared length; the rest belongs to the character pieces

_DOCUMENT, _QUESTION = 0, 1  # rare terms count less in documents than in questions: it finds more than weighing both alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """Attributes:
    weights   term number → weight, of unit length; empty when nothing of the text is known
    coverage  share of the text's words, by information, that the space knows
    """

    weights: dict[int, float]
    coverage: float


class TermSpace:
    """Knows the terms of its documents and how telling each is."""

    def __init__(self, documents: Sequence[str]) -> None:
        counted = [_counted(document) for document in documents]
        self._size = len(documents)
        self._numbers: dict[str, int] = {}
        self._weights = (array("d"), array("d"))
        for kind in (0, 1):
            frequency = Counter(term for pair in counted for term in pair[kind])
            for term, count in frequency.items():
                self._numbers[_key(kind, term)] = len(self._weights[_QUESTION])
                idf = math.log((1 + self._size) / (1 + count)) + 1
                self._weights[_QUESTION].append(idf)
                self._weights[_DOCUMENT].append(math.sqrt(idf))
        self.vectors = [self._vector(pair, _DOCUMENT) for pair in counted]

    @property
    def terms(self) -> int:
        return len(self._numbers)

    def vector(self, text: str) -> Vector:
        """The text as a question to the documents."""
        return self._vector(_counted(text), _QUESTION)

    def _vector(self, counted: tuple[Counter[str], Counter[str]], role: int) -> Vector:
        weights: dict[int, float] = {}
        for kind, share in ((0, _WORD_SHARE), (1, 1 - _WORD_SHARE)):
            block = self._block(kind, counted[kind], role)
            scale = math.sqrt(share) / (math.sqrt(math.fsum(x * x for x in block.values())) or 1.0)
            for number, weight in block.items():
                weights[number] = weight * scale
        length = math.sqrt(math.fsum(x * x for x in weights.values())) or 1.0
        return Vector(weights={number: weight / length for number, weight in weights.items()}, coverage=self._coverage(counted[0]))

    def _block(self, kind: int, counts: Counter[str], role: int) -> dict[int, float]:
        block: dict[int, float] = {}
        weights = self._weights[role]
        for term, count in counts.items():
            number = self._numbers.get(_key(kind, term))
            if number is not None:
                block[number] = (1 + math.log(count)) * weights[number]
        return block

    def _coverage(self, counts: Counter[str]) -> float:
        unknown = math.log(1 + self._size) + 1  # as telling as a word seen once
        known = missing = 0.0
        for term in counts:
            if " " in term:
                continue
            number = self._numbers.get(_key(0, term))
            if number is None:
                missing += unknown
            else:
                known += self._weights[_QUESTION][number]
        return known / (known + missing) if known else 0.0


class Index:
    """Finds what is like a vector among many: an inverted list per term, kept small in arrays."""

    def __init__(self, vectors: Iterable[dict[int, float]]) -> None:
        self._rows: dict[int, tuple[array[int], array[float]]] = {}
        self._size = 0
        for row, weights in enumerate(vectors):
            self._size = row + 1
            for number, weight in weights.items():
                rows, values = self._rows.setdefault(number, (array("L"), array("f")))
                rows.append(row)
                values.append(weight)

    def scores(self, vector: Vector) -> list[float]:
        """The cosine with every row, in order."""
        found = [0.0] * self._size
        for number, weight in vector.weights.items():
            entry = self._rows.get(number)
            if entry is not None:
                for row, value in zip(*entry, strict=True):
                    found[row] += weight * value
        return found


def cosine(left: Vector, right: Vector) -> float:
    small, large = (left.weights, right.weights) if len(left.weights) < len(right.weights) else (right.weights, left.weights)
    return sum(weight * large.get(number, 0.0) for number, weight in small.items())


def _counted(text: str) -> tuple[Counter[str], Counter[str]]:
    found = words(text)
    return Counter(word_terms(found)), Counter(character_terms(found))


def _key(kind: int, term: str) -> str:
    return term if kind == 0 else f"\0{term}"
