"""One value that is wanted, and how much a place in a text speaks of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_model_router.domain.rehearsal import learned
from plimsoll_model_router.domain.rehearsal.facts import Fact
from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.spans import Span
from plimsoll_model_router.domain.rehearsal.text import content_words, vocabulary, words

_NAME_WORDS = vocabulary("name customer person company author supplier vendor organisation organization city country recipient sender")
ANSWER_WORDS = vocabulary("answer reply response draft")
_MONEY_WORDS = vocabulary("price amount total subtotal cost fee sum balance charge paid due net gross tax")
_QUANTITY_WORDS = vocabulary("quantity qty count piece unit")
_CURRENCY = re.compile(r"[€$£]|\b(?:EUR|USD|GBP|CHF|euro|dollar|pound)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value that is wanted: its schema, where it stands in the answer, and the words that speak of it.

    `siblings` are the names of the values beside it, which may have a better right to what the text says.
    """

    schema: Schema
    path: learned.Path
    siblings: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def own_words(self) -> frozenset[str]:
        return frozenset(singular(words(self.name)))

    @property
    def is_name(self) -> bool:
        return bool(self.own_words & _NAME_WORDS) and not self.own_words & ANSWER_WORDS

    @property
    def claimed(self) -> frozenset[frozenset[str]]:
        """The names under which the text speaks of a sibling."""
        return frozenset(frozenset(singular(words(name))) for name in self.siblings if name != self.name)

    @property
    def words(self) -> frozenset[str]:
        return self.own_words | frozenset(singular(content_words(self.schema.description)))


def likeness(field: Field, fact: Fact) -> float:
    """How much a fact's name is the field's name, 0 to 1."""
    own, key = field.own_words, key_words(fact.key)
    if not key or not own:
        return 0.0
    if own == key:
        return 1.0
    shared = len(own & key) / len(own | key)
    last = singular(words(fact.key.replace("-", "")))[-len(own) :]
    if frozenset(last) == own:
        return max(shared, 0.8)
    if own & key and key <= field.words:
        return max(shared, 0.7)
    return shared


def key_words(key: str) -> frozenset[str]:
    return frozenset(singular(words(key.replace("-", "")))) - {"the", "of"}


def unclaimed(text: str, field: Field) -> str:
    """The text without the lines that name a sibling."""
    claimed = field.claimed
    lines = text.splitlines()
    return "\n".join(line for line in lines if ":" not in line or key_words(line.partition(":")[0]) not in claimed) if claimed else text


def dressed(text: str, span: Span, hints: set[str]) -> float:
    """Whether a number wears what the field asks for: a currency for money, a times sign for a quantity."""
    around = (text[max(0, span.start - 4) : span.start], text[span.end : span.end + 5])
    if hints & _MONEY_WORDS:
        return 2.0 if _CURRENCY.search(around[0]) or _CURRENCY.match(around[1].lstrip()) else 0.0
    if hints & _QUANTITY_WORDS:
        return 2.0 if re.match(r"\s*[x×]\s", around[1]) else 0.0
    return 0.0


def line_label(text: str) -> str:
    """What a list item is about: its longest stretch without numbers, money and marks."""
    parts = re.split(r"[,;:()|]|\s[-–—]\s|(?<!\w)[-+]?\d[\d.,]*\s*(?:[x×](?=\s)|%|[A-Z]{3}\b)?(?![\w-])|[€$£]", text)
    return max((part.strip() for part in parts), key=len, default="")


def spoken_near(text: str, span: Span, own: frozenset[str], hints: set[str]) -> float:
    line = text.rfind("\n", 0, span.start) + 1
    before = singular(words(text[max(line, span.start - 60) : span.start]))[-6:]
    after = singular(words(text[span.end : span.end + 30].partition("\n")[0]))[:3]
    score = sum((2.0 if word in own else 1.0) * (1 + at / 6) for at, word in enumerate(before) if word in hints)
    return score + sum(0.8 for word in after if word in hints)


def singular(found: Sequence[str]) -> list[str]:
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in found]
