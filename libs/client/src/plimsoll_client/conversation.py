"""What the mesh remembers of conversations: turns, a summary, and facts with where they come from."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a thread; `origin` is user, assistant, tool, system, recalled or operator."""

    number: int
    origin: str
    text: str
    run_id: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A statement worth remembering; `superseded_by` is the fact that took its place, empty while it holds."""

    id: str
    subject: str
    attribute: str
    text: str
    origin: str
    thread_id: str
    turn: int
    run_id: str
    untrusted: bool
    superseded_by: str
    times: int
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadMemory:
    """The part of a thread that fits: its latest turns, a summary of those before, facts that hold, and older turns that match a query."""

    turns: tuple[Turn, ...]
    summary: str
    facts: tuple[Fact, ...]
    recalled: tuple[Turn, ...]
    turns_total: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much was forgotten."""

    turns: int
    facts: int
