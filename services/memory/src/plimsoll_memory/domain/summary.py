"""The extractive summary: the most telling sentences of what was said, quoted, in the order in which they were said."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import log

from plimsoll_memory.domain.conversation import NEVER_LEARNED, Summary, Turn, canonical_words

MADE_BY = "extractive-1"
SUMMARY_LENGTH = 1_600  # characters
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_LONGEST = 300
_SHORTEST = 3  # words


def extend(before: Summary, turns: Sequence[Turn], *, through: int, length: int = SUMMARY_LENGTH) -> Summary:
    """A summary of what was summarised before and of these turns; instructions and recalled text are left out."""
    lines = before.text.split("\n") if before.text else []
    for turn in turns:
        if turn.origin not in NEVER_LEARNED:
            lines += [f"{turn.origin.value}: {sentence}" for sentence in _sentences(turn.text)]
    return Summary(text="\n".join(_chosen(list(dict.fromkeys(lines)), length)), through=through, made_by=MADE_BY)


def shorten(summary: Summary, length: int) -> Summary | None:
    """The same in fewer characters; None when there is nothing."""
    if not summary.text:
        return None
    if len(summary.text) <= length:
        return summary
    return replace(summary, text="\n".join(_chosen(summary.text.split("\n"), length)) or summary.text[:length])


def _chosen(lines: list[str], length: int) -> list[str]:
    """Those that share most with the rest, as many as fit."""
    words = [set(canonical_words(line).split()[1:]) for line in lines]
    often = Counter(word for one in words for word in one)
    weight = {word: log(1 + count) * len(word) ** 0.5 for word, count in often.items() if len(word) > 3}
    scores = [sum(weight.get(word, 0.0) for word in one) / (4 + len(one)) for one in words]
    kept: list[int] = []
    left = length
    for at in sorted(range(len(lines)), key=lambda at: (-scores[at], at)):
        if len(lines[at]) < left:
            kept.append(at)
            left -= len(lines[at]) + 1
    return [lines[at] for at in sorted(kept)]


def _sentences(text: str) -> list[str]:
    found = (" ".join(match[0].split()) for match in _SENTENCE.finditer(text))
    return [sentence[:_LONGEST] for sentence in found if len(sentence.split()) >= _SHORTEST]
