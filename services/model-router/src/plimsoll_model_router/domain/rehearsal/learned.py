"""What the worked examples say about one field of the answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonValue

from plimsoll_model_router.domain.rehearsal.context import Example
from plimsoll_model_router.domain.rehearsal.facts import Passage, Scalar, read
from plimsoll_model_router.domain.rehearsal.text import sentences

_LABEL_CAP = 60  # characters: longer answers are prose, not labels
_ANCHOR = re.compile(r"(?:[\w'’.-]+[ \t]*[:=]?[ \t]*){1,2}$")

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One example's value of a field, with the text that it was given for."""

    text: str
    value: Scalar

    @property
    def stands_in_text(self) -> bool:
        return str(self.value).lower() in self.text.lower()


def seen_at(examples: Sequence[Example], path: Path) -> list[Seen]:
    """The values under `path`; of examples that are answered with bare text, that text stands for every path of one step."""
    found = []
    for example in examples:
        value = _at(example.value, path)
        if isinstance(value, str | bool | int | float):
            found.append(Seen(text=example.user, value=value))
    return found


def copied_sentences(examples: Sequence[Example], path: Path) -> list[tuple[str, bool]]:
    """The sentences of the examples' texts, each with whether it was copied into the field; empty when too few were."""
    told = [(example, _texts(_at(example.value, path))) for example in examples if isinstance(example.value, dict)]
    weighed = [
        (sentence, any(_is_copy(value, sentence) for value in values))
        for example, values in told
        for passage in (*read(example.user).passages, Passage(text=read(example.user).rest))
        for sentence in sentences(passage.text)
    ]
    copied = sum(chosen for _, chosen in weighed)
    return weighed if copied >= 2 and len(weighed) - copied >= 2 else []


def _is_copy(value: str, sentence: str) -> bool:
    """Whether a value is the sentence, or most of it; a word out of a sentence is something else."""
    return sentence in value or (value in sentence and len(value) > 0.6 * len(sentence))


def is_label(seen: Sequence[Seen]) -> bool:
    """Whether the values look like a choice among few: short, not copied from the text, at least two and fewer than the examples."""
    values = {str(one.value) for one in seen}
    if len(values) < 2 or any(len(value) > _LABEL_CAP or "\n" in value for value in values):
        return False
    copied = sum(one.stands_in_text for one in seen)
    return copied * 2 < len(seen) and (len(values) < len(seen) or all(len(value.split()) <= 4 for value in values))


def anchors(seen: Sequence[Seen]) -> list[str]:
    """The one or two words before a value that was copied from its text, most frequent first."""
    counted: dict[str, int] = {}
    for one in seen:
        at = one.text.lower().find(str(one.value).lower())
        before = _ANCHOR.search(one.text[max(0, at - 80) : at]) if at > 0 else None
        if before and before[0].strip():
            counted[before[0].strip().lower()] = counted.get(before[0].strip().lower(), 0) + 1
    return sorted(counted, key=lambda anchor: (-counted[anchor], anchor))


def after_anchor(text: str, anchor: str, longest: int) -> str:
    """What stands behind the anchor: up to `longest` words, or to the end of a name, but never past a line or a clause."""
    where = re.search(re.escape(anchor).replace(r"\ ", r"\s+") + r"\s*", text, re.IGNORECASE)
    if where is None:
        return ""
    clause = re.match(r"[^\n.;,!?]*(?:[.,](?=\S)[^\n.;,!?]*)*", text[where.end() :])
    found = (clause[0] if clause else "").split()
    end = longest
    while 0 < end < len(found) and found[end - 1][:1].isupper() and found[end][:1].isupper():
        end += 1
    return " ".join(found[:end])


def _texts(value: JsonValue) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [" ".join(text.split()) for text in found if isinstance(text, str) and text.strip()]


def _at(value: JsonValue, path: Path) -> JsonValue:
    if isinstance(value, str) and len(path) <= 1:
        return value
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
