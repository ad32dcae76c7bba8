"""Server-sent events: bytes in, events out, after the WHATWG rules."""

from dataclasses import dataclass

_EVENT_CAP = 8 * 1024 * 1024


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
        lines = b"".join((*self._rest, piece)).replace(b"\r\n", b"\n").split(b"\n")
        held = lines.pop()  # not ended yet; may end in a \r whose \n is still to come
        if b"\r" in held[:-1]:
            *more, held = held.split(b"\r")
            lines += more
        self._rest, self._held = [held], len(held)
        return [event for line in lines for event in self._lines(line)]

    def _lines(self, line: bytes) -> list[SseEvent]:
        found = [self._line(part) for part in line.split(b"\r")] if b"\r" in line else [self._line(line)]
        return [event for event in found if event is not None]

    def _line(self, raw: bytes) -> SseEvent | None:
        line = raw.decode(errors="replace")
        if not self._started:
            line, self._started = line.removeprefix("\ufeff"), True  # a byte order mark is allowed at the very beginning
        if not line:
            event = SseEvent(name=self._name, data="\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None
