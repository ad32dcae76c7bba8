"""Versions of prompts, models and routes, and how labels moved between them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EntryKind(StrEnum):
    """What the registry holds."""

    PROMPT = "prompt"
    MODEL = "model"
    ROUTE = "route"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A version, which never changes; `labels` point at it now."""

    kind: EntryKind
    name: str
    version: int
    digest: str
    labels: tuple[str, ...]
    created_at: datetime | None
    created_by: str


class Grounds(StrEnum):
    """Why a label was allowed to move."""

    OPEN = "open"
    FIRST = "first"
    REPORT = "report"
    ROLLBACK = "rollback"
    OVERRIDE = "override"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMove:
    """A label moved; `from_version` is 0 when there was none."""

    kind: EntryKind
    name: str
    label: str
    from_version: int
    to_version: int
    grounds: Grounds
    report_digest: str
    reason: str
    moved_by: str
    moved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """`moved` is False when the label was there already."""

    move: LabelMove
    moved: bool
