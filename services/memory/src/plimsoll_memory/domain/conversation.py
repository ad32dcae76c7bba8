"""Conversations: turns, facts, summaries, and the rules of what may be remembered."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.work import WorkContext

from plimsoll_memory.domain.document import collection_problems, json_problems
from plimsoll_memory.errors import RequestRefused

MOST_TURNS, MOST_FACTS = 200, 100  # a request
_KEY_LENGTH, _THREAD_LENGTH, _SUBJECT_LENGTH, _ATTRIBUTE_LENGTH = 200, 200, 200, 100
_TURN_BYTES = 64 * 1024
_FACT_LENGTH, _SUMMARY_LENGTH = 2_000, 8_000
_BYTES_A_TOKEN = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORD = re.compile(r"\w+")


class Origin(StrEnum):
    """Who said it, or where it came from."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"
    """Instructions; nothing is ever learned from them."""
    RECALLED = "recalled"
    """Text that came out of memory; nothing is ever learned from it, else memory would feed on itself."""
    OPERATOR = "operator"


NEVER_LEARNED = frozenset({Origin.SYSTEM, Origin.RECALLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """A turn that somebody sends."""

    origin: Origin
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a thread; `cut` says that only the end of the text is here."""

    number: int
    origin: Origin
    text: str = field(repr=False)
    tokens: int
    work: WorkContext | None
    created_at: datetime
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A fact that somebody sends, or that was learned from a saying.

    subject    empty for the thread itself
    attribute  what about the subject; the next claim about it takes the place of this one. Empty stands beside all others
    saying     the place of the saying it was learned from, from 1; 0 when it was told
    """

    subject: str
    attribute: str
    text: str = field(repr=False)
    origin: Origin
    metadata: JsonObject = field(default_factory=dict)
    saying: int = 0

    @property
    def canonical(self) -> str:
        """The same for texts that say the same in the same words."""
        return sha256(canonical_words(self.text).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact as it is kept; it holds while nothing superseded it."""

    fact_id: str
    subject: str
    attribute: str
    text: str = field(repr=False)
    origin: Origin
    thread_id: str
    turn: int
    work: WorkContext | None
    metadata: JsonObject
    superseded_by: str
    times: int
    created_at: datetime
    last_at: datetime

    @property
    def untrusted(self) -> bool:
        """Only what an operator told is more than hearsay."""
        return self.origin is not Origin.OPERATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a thread says up to a turn, in short."""

    text: str = field(repr=False)
    through: int
    made_by: str


NO_SUMMARY = Summary(text="", through=0, made_by="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """What is to be remembered: in a thread or, facts only, in a collection; one of the two is empty."""

    thread_id: str
    collection: str
    key: str
    sayings: tuple[Saying, ...]
    claims: tuple[Claim, ...]
    learn: bool
    summary: Summary | None
    work: WorkContext | None

    @property
    def place(self) -> str:
        """What keys are unique in."""
        return f"thread/{self.thread_id}" if self.thread_id else f"collection/{self.collection}"

    @property
    def digest(self) -> str:
        """Of all that is to be remembered."""
        sayings: list[JsonValue] = [[one.origin.value, one.text] for one in self.sayings]
        claims: list[JsonValue] = [[one.subject, one.attribute, one.text, one.origin.value, one.metadata] for one in self.claims]
        summary: JsonValue = [self.summary.text, self.summary.through] if self.summary else None
        return digest([sayings, claims, self.learn, summary])


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was kept; `left_out` names what was not, each with its reason."""

    turns: Sequence[Turn]
    facts: Sequence[Fact]
    changed: bool
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadHead:
    """How many turns a thread has had, and its summary."""

    turns: int
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much was there to forget."""

    turns: int
    facts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of a thread that fits into a number of tokens."""

    turns: Sequence[Turn]
    summary: Summary | None
    facts: Sequence[Fact]
    recalled: Sequence[Turn]
    turns_total: int
    tokens: int


def tokens_of(text: str) -> int:
    """An estimate: four bytes to a token."""
    return -(-len(text.encode()) // _BYTES_A_TOKEN)


def canonical_words(text: str) -> str:
    """A text without case, punctuation and accents in two forms."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def check(request: Remembering) -> None:
    """Raises RequestRefused with every problem of the request."""
    problems = [*_place_problems(request), *_text_problems("key", request.key, _KEY_LENGTH)]
    if not request.sayings and not request.claims and request.summary is None:
        problems.append(FieldProblem("turns", "there is nothing to remember", "send turns, facts or a summary"))
    if len(request.sayings) > MOST_TURNS:
        problems.append(FieldProblem("turns", f"has {len(request.sayings)} turns", f"send {MOST_TURNS} or fewer at once"))
    if len(request.claims) > MOST_FACTS:
        problems.append(FieldProblem("facts", f"has {len(request.claims)} facts", f"send {MOST_FACTS} or fewer at once"))
    for at, saying in enumerate(request.sayings[:MOST_TURNS]):
        problems += _saying_problems(f"turns[{at}].text", saying.text)
    for at, claim in enumerate(request.claims[:MOST_FACTS]):
        problems += _claim_problems(f"facts[{at}]", claim)
    if request.summary is not None:
        problems += _text_problems("summary.text", request.summary.text, _SUMMARY_LENGTH, lines=True)
        if request.summary.through < 1:
            problems.append(FieldProblem("summary.through_turn", "is missing", "say the last turn that it covers"))
    if problems:
        raise RequestRefused(problems=problems)


def thread_problems(thread_id: str) -> list[FieldProblem]:
    """What is wrong with a thread's id."""
    return _text_problems("thread_id", thread_id, _THREAD_LENGTH)


def subject_problems(subject: str, field_: str = "subject") -> list[FieldProblem]:
    """What is wrong with a subject."""
    return _text_problems(field_, subject, _SUBJECT_LENGTH)


def _place_problems(request: Remembering) -> list[FieldProblem]:
    if request.thread_id:
        return thread_problems(request.thread_id)
    if not request.collection:
        return [FieldProblem("thread_id", "is missing", "name a thread or a collection")]
    problems = collection_problems(request.collection)
    if request.sayings or request.summary or request.learn:
        problems.append(FieldProblem("collection", "takes facts only", "remember turns and summaries in a thread"))
    return problems


def _claim_problems(field_: str, claim: Claim) -> list[FieldProblem]:
    problems = _text_problems(f"{field_}.text", claim.text, _FACT_LENGTH, lines=True)
    if claim.subject:
        problems += subject_problems(claim.subject, f"{field_}.subject")
    if claim.attribute:
        problems += _text_problems(f"{field_}.attribute", claim.attribute, _ATTRIBUTE_LENGTH)
    return problems + json_problems(claim.metadata, f"{field_}.metadata")


def _saying_problems(field_: str, text: str) -> list[FieldProblem]:
    size = len(text.encode())
    if size > _TURN_BYTES:
        return [FieldProblem(field_, f"has {size:,} bytes; the limit is {_TURN_BYTES:,}", "keep long text as a document, and name it here")]
    return _text_problems(field_, text, _TURN_BYTES, lines=True)


def _text_problems(field_: str, text: str, most: int, *, lines: bool = False) -> list[FieldProblem]:
    if not text.strip():
        return [FieldProblem(field_, "is empty", "say something")]
    if len(text) > most:
        return [FieldProblem(field_, f"has {len(text):,} characters; the limit is {most:,}", "shorten it")]
    if "\x00" in text if lines else _CONTROL.search(text):
        return [FieldProblem(field_, "holds control characters", "leave them out")]
    return []
