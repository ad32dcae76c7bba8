"""What the dispatcher and a worker process say to each other: length-prefixed JSON frames over a socket pair."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from plimsoll_runtime.json_types import JsonObject, JsonValue

_PREFIX = 4
_ENVELOPE_BYTES = 64 * 1024  # around the largest value that may travel


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The first frame: the code to run and the limits to run it in."""

    path: str
    text: str
    functions: list[str]
    credentials: dict[str, str] = field(repr=False)
    memory_bytes: int
    result_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke:
    """Run a function."""

    id: int
    function: str
    arguments: JsonObject
    tenant: str
    call_key: str
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Cancel a function that runs."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The code is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The code cannot be loaded; the process ends."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The function's result."""

    id: int
    value: JsonValue
    size: int = field(default=0, compare=False)  # of the frame, for who reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The function raised ToolRejected."""

    id: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The function, or the file's setup, says that nothing was done and that later may help."""

    id: int
    reason: str
    message: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The function raised something else; `broken_connection` tells a lost upstream from a fault of the code."""

    id: int
    error: str
    at: str
    broken_connection: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """The function met the memory limit."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """The function returned what JSON cannot carry, or too much of it."""

    id: int
    reason: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The function was cancelled and has ended."""

    id: int


Reply: TypeAlias = Returned | Rejected | Unavailable | Raised | OutOfMemory | Unfit | Stopped
Message: TypeAlias = Load | Invoke | Stop | Ready | Broken | Reply

_MESSAGES: tuple[type[Any], ...] = (
    Load,
    Invoke,
    Stop,
    Ready,
    Broken,
    Returned,
    Rejected,
    Unavailable,
    Raised,
    OutOfMemory,
    Unfit,
    Stopped,
)

_RETURNED = _MESSAGES.index(Returned)


class TornFrame(Exception):
    """What came is not a frame of ours."""


def encode(message: Message) -> bytes:
    """A frame. Raises TypeError for what JSON cannot carry."""
    body = orjson.dumps([_MESSAGES.index(type(message)), message])
    return len(body).to_bytes(_PREFIX) + body


class Frames:
    """Takes bytes as they come, in whatever pieces, and gives the messages that are whole."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes + _ENVELOPE_BYTES
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Raises TornFrame for what is no frame of ours, or too long a one."""
        held, messages = self._held, []
        held += data
        while len(held) >= _PREFIX:
            length = int.from_bytes(held[:_PREFIX])
            if length > self._most:
                raise TornFrame
            end = _PREFIX + length
            if len(held) < end:
                break
            messages.append(_decoded(bytes(held[_PREFIX:end]), length))
            del held[:end]
        return messages


def _decoded(body: bytes, length: int) -> Message:
    try:
        kind, fields = orjson.loads(body)
        if kind == _RETURNED:
            fields["size"] = length
        message: Message = _MESSAGES[kind](**fields)
    except (ValueError, TypeError, IndexError) as error:
        raise TornFrame from error
    return message
