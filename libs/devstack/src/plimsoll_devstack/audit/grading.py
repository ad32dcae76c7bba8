"""What an audit found, and the grade that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_PASSING = 0.75
_HALF = 0.5


class Outcome(StrEnum):
    """How a check ended. What could not be measured here is neither for nor against."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried: the evidence in figures, and what to fix or to do where it was not kept."""

    what: str
    outcome: Outcome
    evidence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was found on one question."""

    dimension: str
    question: str
    checks: Sequence[Check]

    @property
    def grade(self) -> str:
        """A when all was measured and kept, B when what was measured was; C and D by the share that was; F below half; - for nothing."""
        measured = [check for check in self.checks if check.outcome is not Outcome.NOT_MEASURED]
        if not measured:
            return "-"
        share = sum(check.outcome is Outcome.KEPT for check in measured) / len(measured)
        if share == 1:
            return "A" if len(measured) == len(self.checks) else "B"
        return "C" if share >= _PASSING else "D" if share >= _HALF else "F"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A whole audit: of which agent, under which seed, how long it took."""

    agent: str
    seed: int
    took_s: float
    answers: Sequence[Answer]

    @property
    def passed(self) -> bool:
        """Whether nothing that was measured was broken."""
        return not any(check.outcome is Outcome.BROKEN for answer in self.answers for check in answer.checks)


def judged(what: str, *, kept: bool, evidence: str, remedy: str) -> Check:
    """A check that was made; the remedy shows only where it was not kept."""
    return Check(what=what, outcome=Outcome.KEPT if kept else Outcome.BROKEN, evidence=evidence, remedy="" if kept else remedy)


def unmeasured(what: str, *, why: str, remedy: str) -> Check:
    """A check that could not be made here."""
    return Check(what=what, outcome=Outcome.NOT_MEASURED, evidence=why, remedy=remedy)
