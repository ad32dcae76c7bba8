"""The text of steps under way, once: a stream that was cut tells it anew, and may not tell any more that it is void."""

from collections.abc import Iterator
from dataclasses import replace

from plimsoll_client.events import Happening, StepFinished, StepProgressed, TokensReceived, TokensRetracted


class Provisional:
    """What has been told of the step under way."""

    def __init__(self) -> None:
        self._node = ""
        self._step_seq = 0
        self._attempt = 0
        self._void = 0  # the highest attempt of this step that is void
        self._told = 0  # characters of the attempt

    def hear(self, event: TokensReceived) -> Iterator[TokensReceived | TokensRetracted]:
        """The part of the text that was not told yet, behind the retraction of what it supersedes."""
        place, mine = (event.step_seq, event.attempt), (self._step_seq, self._attempt)
        if place < mine or (event.step_seq == self._step_seq and event.attempt <= self._void):
            return
        if place > mine:
            yield from self._settled()
            self._void = self._void if event.step_seq == self._step_seq else 0
            self._node, self._step_seq, self._attempt, self._told = event.node, event.step_seq, event.attempt, 0
        known = max(0, self._told - event.offset)
        if known < len(event.text):
            self._told = event.offset + len(event.text)
            yield replace(event, offset=event.offset + known, text=event.text[known:])

    def retract(self, event: TokensRetracted) -> Iterator[TokensRetracted]:
        """The retraction, when it voids anything that is not void already."""
        if event.step_seq == self._step_seq and event.attempt >= self._attempt:
            yield from self._settled()
            self._void = event.attempt

    def pass_on(self, event: Happening) -> Iterator[TokensRetracted]:
        """The journal has gone on by `event`: what was told came true by it, or is void."""
        if isinstance(event, StepFinished | StepProgressed):
            self._told = 0
        yield from self._settled()

    def _settled(self) -> Iterator[TokensRetracted]:
        if self._told:
            self._told = 0
            yield TokensRetracted(node=self._node, step_seq=self._step_seq, attempt=self._attempt)
