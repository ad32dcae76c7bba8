"""Annotation: what several people say of one item, and what that comes to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonValue

from plimsoll_feedback.domain.learning.datasets import DatasetSpec
from plimsoll_feedback.domain.learning.likeness import content_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """The right answer, as one annotator sees it; or that the item is no example, when it `discards`."""

    annotator: str
    expected: JsonValue
    at: datetime
    discards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    expected: JsonValue
    annotators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """It shall be no example."""

    annotators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """More annotators are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """Everybody was asked, and too few agreed."""


Consensus: TypeAlias = Agreed | Discarded | Pending | Disputed


def consensus(spec: DatasetSpec, annotations: Sequence[Annotation]) -> Consensus:
    """Enough equal answers of different people, whatever the others said. Of one annotator the last word counts.

    Answers are equal when they differ only in case and spaces; to discard is an answer like others.
    """
    last = {one.annotator: one for one in sorted(annotations, key=lambda one: one.at)}
    votes = Counter(map(_vote, last.values()))
    for digest, count in votes.most_common(2):
        if count >= spec.agreement and not _tied(votes, digest):
            said = [one for one in last.values() if _vote(one) == digest]
            annotators = tuple(sorted(one.annotator for one in said))
            return Discarded(annotators=annotators) if said[0].discards else Agreed(expected=said[0].expected, annotators=annotators)
    return Disputed() if len(last) >= spec.annotators else Pending()


def _vote(said: Annotation) -> str:
    return "" if said.discards else content_digest(said.expected)


def _tied(votes: Counter[str], digest: str) -> bool:
    """Whether another answer has as many: then nobody has been convinced yet."""
    return any(count >= votes[digest] for other, count in votes.items() if other != digest)
