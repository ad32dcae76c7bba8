"""What models say while they say it: provisional text, told apart by step, attempt and offset, and void once it is superseded."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenText:
    """A stretch of what a model says in a step under way.

    Attributes:
    step_seq  position of the journal entry after which it is said
    attempt  counts up; a higher one voids the text of lower ones
    offset   where the text begins in the attempt's text, in characters
    """

    node: str
    step_seq: int
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retracted:
    """What was told of this step's attempts up to `attempt` is void."""

    node: str
    step_seq: int
    attempt: int


@dataclass(slots=True)
class Speech:
    """The text of one step as a worker hears it; `taken` characters of it were told."""

    node: str
    step_seq: int
    attempt: int = 0
    text: str = ""
    taken: int = 0

    def hear(self, attempt: int, piece: str) -> None:
        """Take a piece in; one of a higher attempt begins anew, one of a lower attempt is void."""
        if attempt > self.attempt:
            self.attempt, self.text, self.taken = attempt, "", 0
        if attempt == self.attempt:
            self.text += piece

    def news(self) -> SpokenText | None:
        """What was not told yet."""
        if not self.attempt or self.taken == len(self.text):
            return None
        offset, self.taken = self.taken, len(self.text)
        return self._stretch(offset)

    def whole(self) -> SpokenText | None:
        """All of it, for those who came late or missed a part."""
        return self._stretch(0) if self.attempt and self.text else None

    def _stretch(self, offset: int) -> SpokenText:
        return SpokenText(node=self.node, step_seq=self.step_seq, attempt=self.attempt, offset=offset, text=self.text[offset:])


@dataclass(slots=True)
class Listener:
    """What one follower was told: turns stretches that come late, twice or not at all into text without gap or repeat."""

    node: str = ""
    step_seq: int = 0
    attempt: int = 0
    told: int = 0

    def hear(self, stretch: SpokenText, seq: int) -> Iterator[SpokenText | Retracted]:
        """What to tell a follower who has the journal up to `seq`. A stretch behind a gap is left out: the whole text comes again soon."""
        if stretch.step_seq != seq or (self.step_seq == seq and stretch.attempt < self.attempt):
            return
        if (self.step_seq, self.attempt) != (stretch.step_seq, stretch.attempt):
            yield from self.settle(came_true=False)
            self.node, self.step_seq, self.attempt, self.told = stretch.node, stretch.step_seq, stretch.attempt, 0
        end = stretch.offset + len(stretch.text)
        if stretch.offset <= self.told < end:
            text = stretch.text[self.told - stretch.offset :]
            yield SpokenText(node=self.node, step_seq=seq, attempt=self.attempt, offset=self.told, text=text)
            self.told = end

    def settle(self, *, came_true: bool) -> Iterator[Retracted]:
        """The journal went on, or another attempt began: what was told is retracted unless it came true."""
        if self.told and not came_true:
            yield Retracted(node=self.node, step_seq=self.step_seq, attempt=self.attempt)
        self.told = 0
