"""Choosing a label: by likeness to what the labels mean and to the examples given for them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_model_router.domain.rehearsal.similarity import Index, TermSpace, Vector

_NEAREST_SHARE = 0.25  # of the score; the rest is the likeness to the label's centre
_SHARPNESS = 26.0  # makes the best label's share of the scores about as large as its chance to be right


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One answer to choose from, with what it means."""

    name: str
    description: str = ""

    @property
    def text(self) -> str:
        return f"{self.name} {self.description}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The label chosen, as its position; `confidence` is 0 to 1."""

    label: int
    confidence: float


class Classifier:
    """Fitted once on labels and examples, then asked often. Never changes after it is made."""

    def __init__(self, labels: Sequence[Label], examples: Sequence[tuple[str, int]]) -> None:
        """`examples` are texts with the position of their label."""
        owners = [*range(len(labels)), *(label for _, label in examples)]
        space = TermSpace([*(label.text for label in labels), *(text for text, _ in examples)])
        centres: list[dict[int, float]] = [defaultdict(float) for _ in labels]
        for vector, owner in zip(space.vectors, owners, strict=True):
            for number, weight in vector.weights.items():
                centres[owner][number] += weight
        self._labels = len(labels)
        self._owners = owners
        self._centres = Index(_unit(centre) for centre in centres)
        self._known = Index(vector.weights for vector in space.vectors)
        space.vectors.clear()  # the index holds them now
        self._space = space
        self.weight = space.terms

    def _scores(self, text: str) -> tuple[list[float], Vector]:
        """How well each label fits, and the text as the space sees it."""
        vector = self._space.vector(text)
        nearest = [0.0] * self._labels
        for owner, score in zip(self._owners, self._known.scores(vector), strict=True):
            nearest[owner] = max(nearest[owner], score)
        centres = self._centres.scores(vector)
        return [(1 - _NEAREST_SHARE) * c + _NEAREST_SHARE * n for c, n in zip(centres, nearest, strict=True)], vector

    def choose(self, text: str) -> Choice:
        """The best label; of equals the first. The confidence falls with close rivals and with unknown words."""
        shares = self.shares(text)
        best = max(shares)
        return Choice(label=shares.index(best), confidence=best)

    def shares(self, text: str) -> list[float]:
        """How likely each label is; together they are 1, less what unknown words take away."""
        scores, vector = self._scores(text)
        best = max(scores)
        weights = [math.exp(_SHARPNESS * (score - best)) for score in scores]
        scale = math.sqrt(vector.coverage) / math.fsum(weights)
        return [weight * scale for weight in weights]


def _unit(weights: dict[int, float]) -> dict[int, float]:
    length = math.sqrt(math.fsum(x * x for x in weights.values())) or 1.0
    return {number: weight / length for number, weight in weights.items()}
