"""Reading plain text: words, terms and sentences."""

import re
from collections.abc import Iterator
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n\s*\n|\n(?=\s*(?:[-*•#>|]|\d+[.)]\s))")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|No|Nr|vs|etc|approx|e\.g|i\.e|Inc|Ltd|Co)|\b[A-Z])\.$")
_CHARACTER_GRAMS = range(2, 6)


def vocabulary(text: str) -> frozenset[str]:
    """A set of words, written as a text."""
    return frozenset(text.split())


STOP_WORDS = vocabulary(
    "a an and are as at be been but by can could did do does for from had has have he her his i if in into is it its just me my of on or "
    "our she should so than that the their them then there these they this to was we were will with would you your please"
)


def words(text: str) -> list[str]:
    """Lower-case words; `order_id` and `orderId` are two words each."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(_CAMEL.sub(" ", text))]


def content_words(text: str) -> list[str]:
    """The words that carry meaning."""
    return [word for word in words(text) if word not in STOP_WORDS]


def word_terms(found: list[str]) -> Iterator[str]:
    """Words and pairs of neighbours."""
    yield from found
    for first, second in pairwise(found):
        yield f"{first} {second}"


def character_terms(found: list[str]) -> Iterator[str]:
    """Pieces of 2 to 5 characters inside each word, its edges marked: `refund` and `refunded` share most of theirs."""
    for word in found:
        marked = f"#{word}#"
        for size in _CHARACTER_GRAMS:
            for start in range(len(marked) - size + 1):
                yield marked[start : start + size]


def sentences(text: str) -> list[str]:
    """Sentences, list items and headings, in order."""
    found: list[str] = []
    for piece in _SENTENCE_END.split(text):
        clean = " ".join(piece.split())
        if not clean:
            continue
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] = f"{found[-1]} {clean}"
        else:
            found.append(clean)
    return found
