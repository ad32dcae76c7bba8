"""The words of the bus: streams, consumers and messages."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from plimsoll_runtime.errors import Invalid

DEAD_LETTERS = "plimsoll.v1.dead_letter"


class MessageTooLarge(Invalid):
    """The message is larger than the server takes."""

    reason = "MESSAGE_TOO_LARGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A JetStream stream: what it keeps and for how long."""

    name: str
    subjects: tuple[str, ...]
    durable: bool = True
    work_queue: bool = False
    max_age_s: float = 7 * 24 * 3600.0
    max_bytes: int = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """A durable pull consumer.

    ack_wait_s  how long a batch may take; then it is cut off, and comes back
    attempts    how often one process tries a message that our code cannot handle; outages do not count
    """

    stream: StreamSpec
    durable: str
    subjects: tuple[str, ...]
    batch: int = 64
    ack_wait_s: float = 30.0
    attempts: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Attributes:
    attempt  which delivery this is, from 1
    """

    subject: str
    payload: bytes
    message_id: str
    tenant: str
    attempt: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish.

    message_id  makes a repeat within two minutes harmless
    trace       traceparent of the work it tells of; the present span's when empty
    headers     more of them
    """

    subject: str
    payload: bytes
    message_id: str
    tenant: str
    trace: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


HandleBatch: TypeAlias = Callable[[Sequence[Message]], Awaitable[None]]


def service_stream(service: str) -> StreamSpec:
    """The stream of a service's events, `plimsoll.v1.<service>.<noun>.<verb>`; made by whoever needs it first."""
    snake = service.replace("-", "_")
    return StreamSpec(name=f"PLIMSOLL_{snake.upper()}", subjects=(f"plimsoll.v1.{snake}.*.*",))


DEAD_LETTER_STREAM = StreamSpec(name="PLIMSOLL_DEAD_LETTER", subjects=(f"{DEAD_LETTERS}.>",), max_age_s=30 * 24 * 3600.0)
