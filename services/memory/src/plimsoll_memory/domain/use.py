"""Use: whether an answer draws on a passage, judged by their words."""

import re

from plimsoll_memory.domain.conversation import canonical_words

_RUN = 5  # words in a row that nobody writes by chance
_SENTENCE = re.compile(r"[.!?\n]+")
_LEAST_WORDS, _LEAST_SHARE = 4, 0.6  # of a sentence's longer words
_LONG = 4  # characters


def uses(answer: str, passage: str) -> bool:
    """Whether the answer quotes a run of the passage's words, or has a sentence most of whose longer words are in it."""
    said, there = canonical_words(answer).split(), canonical_words(passage).split()
    runs = {tuple(there[at : at + _RUN]) for at in range(len(there) - _RUN + 1)}
    if any(tuple(said[at : at + _RUN]) in runs for at in range(len(said) - _RUN + 1)):
        return True
    known = {word[: _LONG + 2] for word in there}
    for sentence in _SENTENCE.split(answer):
        words = {word[: _LONG + 2] for word in canonical_words(sentence).split() if len(word) >= _LONG}
        if len(words) >= _LEAST_WORDS and len(words & known) >= _LEAST_SHARE * len(words):
            return True
    return False
