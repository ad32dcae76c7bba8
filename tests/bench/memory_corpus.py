"""A corpus for memory's benches: made-up words with the frequencies of a language and with subjects, the same for the same seed."""

import bisect
import itertools
import random
from dataclasses import dataclass, field

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvz" for vowel in "aeiou"]
_WORDS, _SUBJECTS, _SUBJECT_WORDS = 60_000, 600, 250
_COMMON = 200  # the most frequent words belong to no subject
_OF_SUBJECT = 0.5  # of a passage's words


@dataclass
class Corpus:
    """Passages of 70 to 150 words about one or two subjects each; queries of 3 to 8 words out of a passage."""

    seed: int = 1
    _random: random.Random = field(init=False)
    _words: list[str] = field(init=False)
    _frequency: list[float] = field(init=False)
    _subjects: list[list[str]] = field(init=False)
    _in_subject: list[float] = field(init=False)

    def __post_init__(self) -> None:
        draw = self._random = random.Random(self.seed)
        made = ("".join(draw.choice(_SYLLABLES) for _ in range(draw.choice((2, 3, 3, 4, 4)))) for _ in itertools.count())
        self._words = list(itertools.islice(dict.fromkeys(itertools.islice(made, _WORDS * 2)), _WORDS))
        self._frequency = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(_WORDS)))
        self._subjects = [[self._words[draw.randrange(_COMMON, _WORDS)] for _ in range(_SUBJECT_WORDS)] for _ in range(_SUBJECTS)]
        self._in_subject = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(_SUBJECT_WORDS)))

    def passage(self) -> str:
        """The next passage."""
        return " ".join(self._drawn(self._random.randint(70, 150)))

    def query(self) -> str:
        """Words of a passage as a person would choose them: mostly those of its subjects."""
        draw = self._random
        words = list(dict.fromkeys(self._drawn(60, of_subject=0.8)))
        return " ".join(draw.sample(words, min(len(words), draw.randint(3, 8))))

    def _drawn(self, count: int, of_subject: float = _OF_SUBJECT) -> list[str]:
        draw = self._random
        subjects = [draw.choice(self._subjects) for _ in range(draw.choice((1, 1, 2)))]
        return [
            draw.choice(subjects)[self._rank(self._in_subject)] if draw.random() < of_subject else self._words[self._rank(self._frequency)]
            for _ in range(count)
        ]

    def _rank(self, sums: list[float]) -> int:
        return min(bisect.bisect(sums, self._random.random() * sums[-1]), len(sums) - 1)
