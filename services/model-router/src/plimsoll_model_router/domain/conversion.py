"""What the way into a provider's format and back does to a question and its answer: told for every call, never silent."""

from dataclasses import dataclass
from enum import StrEnum


class ConversionKind(StrEnum):
    DROPPED = "dropped"  # left out
    APPROXIMATED = "approximated"  # said as nearly as the provider can
    EMULATED = "emulated"  # done by other means


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Attributes:
    subject  what it happened to, such as `reasoning` or `temperature`
    detail   for people; holds nothing of the conversation
    """

    kind: ConversionKind
    subject: str
    detail: str


class Report:
    """Collects conversions while a question or an answer is converted; each is told once."""

    def __init__(self) -> None:
        self._told: dict[Conversion, None] = {}

    def dropped(self, subject: str, detail: str) -> None:
        self._tell(ConversionKind.DROPPED, subject, detail)

    def approximated(self, subject: str, detail: str) -> None:
        self._tell(ConversionKind.APPROXIMATED, subject, detail)

    def emulated(self, subject: str, detail: str) -> None:
        self._tell(ConversionKind.EMULATED, subject, detail)

    @property
    def conversions(self) -> tuple[Conversion, ...]:
        """In the order in which they were first told."""
        return tuple(self._told)

    def _tell(self, kind: ConversionKind, subject: str, detail: str) -> None:
        self._told[Conversion(kind=kind, subject=subject, detail=detail)] = None
