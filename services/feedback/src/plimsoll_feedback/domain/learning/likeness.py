"""Likeness of texts: the same said again, and nearly the same."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Sequence

from plimsoll_runtime.json_types import JsonValue, canonical

NEARLY_THE_SAME = 0.85
_SHINGLE = 3
_SKETCH = 64
_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"\s+")


def normalised(value: JsonValue) -> str:
    """The text of a value, without what makes no difference: case, spaces, compatibility forms."""
    text = value if isinstance(value, str) else canonical(value)
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def content_digest(value: JsonValue) -> str:
    """Equal for values that differ only in what makes no difference."""
    return hashlib.sha256(normalised(value).encode("utf-8", "surrogatepass")).hexdigest()


def shingles(value: JsonValue) -> frozenset[int]:
    """Hashes of every three words in a row, which tell how alike two texts are; of long texts the least of them, which tell it as well."""
    words = _WORD.findall(normalised(value))
    runs = {" ".join(words[at : at + _SHINGLE]) for at in range(max(1, len(words) - _SHINGLE + 1))} if words else set()
    hashed = sorted(int.from_bytes(hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=7).digest()) for run in runs)
    return frozenset(hashed[:_SKETCH])


def likeness(one: Collection[int], other: Collection[int]) -> float:
    """Jaccard's share, 0 to 1, estimated from the least hashes of both (Broder's sketch); two texts without words are alike."""
    union = sorted({*one, *other})[:_SKETCH]
    if not union:
        return 1.0
    return sum(hashed in one and hashed in other for hashed in union) / len(union)


def is_near(one: Collection[int], others: Sequence[Collection[int]]) -> bool:
    """Whether any of the others says nearly the same."""
    return any(likeness(one, other) >= NEARLY_THE_SAME for other in others)
