"""What was learned from a context, kept for the next question with the same context."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from plimsoll_model_router.domain.rehearsal.classify import Classifier, Label

_CAPACITY = 40_000  # terms of all classifiers together: about 40 MB


class Fits:
    """Fitted classifiers by the digest of what they were fitted on; the least recently used go first. Safe between threads."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[bytes, Classifier] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def classifier(self, labels: Sequence[Label], examples: Sequence[tuple[str, int]]) -> Classifier:
        """The classifier for these labels and examples, fitted now if it is new."""
        key = _key(labels, examples)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        fitted = Classifier(labels, examples)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = fitted
                self._weight += fitted.weight
            while self._weight > self._capacity and len(self._kept) > 1:
                self._weight -= self._kept.popitem(last=False)[1].weight
        return fitted


def _key(labels: Sequence[Label], examples: Sequence[tuple[str, int]]) -> bytes:
    known = hashlib.sha256()
    for label in labels:
        known.update(f"{len(label.name)}:{label.name}{len(label.description)}:{label.description}".encode())
    for text, owner in examples:
        known.update(f"{owner}:{len(text)}:{text}".encode())
    return known.digest()
