"""Server-sent events: bytes in, events out, after the WHATWG rules."""

from dataclasses import dataclass

_EVENT_CAP = 8 * 1024 * 1024
_MARK = b"\xef\xbb\xbf"  # allowed at the very beginning


class EventTooLarge(Exception):
    """An event grew beyond what any provider sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SseEvent:
    """`name` is empty for events without one."""

    name: str
    data: str


class SseParser:
    """Takes the bytes of one stream in pieces of any size."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that has not ended yet
        self._held = 0
        self._started = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that this piece completes. Raises EventTooLarge."""
        self._held += len(piece)
        if self._held + sum(map(len, self._data)) > _EVENT_CAP:
            raise EventTooLarge
        if b"\n" not in piece and b"\r" not in piece and not (self._rest and self._rest[-1].endswith(b"\r")):
            self._rest.append(piece)
            return []
        told = b"".join((*self._rest, piece))
        if not self._started:
            told, self._started = told.removeprefix(_MARK), True
        *lines, held = _with_one_ending(told).split(b"\n")
        self._rest, self._held = [held], len(held)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> SseEvent | None:
        """The event that the line completes."""
        if not line:
            event = SseEvent(name=self._name, data="\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.decode(errors="replace").partition(":")
        if field == "data":
            self._data.append(value.removeprefix(" "))
        elif field == "event":
            self._name = value.removeprefix(" ")
        return None


def _with_one_ending(told: bytes) -> bytes:
    """Lines may end in three ways. A last \\r stays: its \\n may be still to come."""
    if b"\r" not in told:
        return told
    last = b"\r" if told.endswith(b"\r") else b""
    return told.removesuffix(last).replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last
