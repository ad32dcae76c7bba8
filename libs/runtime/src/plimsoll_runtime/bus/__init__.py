"""NATS: publish, notify, listen, and durable consumers that survive a restart of the server."""

from plimsoll_runtime.bus.connection import Bus, Listener, open_bus
from plimsoll_runtime.bus.messages import (
    DEAD_LETTER_STREAM,
    DEAD_LETTERS,
    ConsumerSpec,
    HandleBatch,
    Message,
    MessageTooLarge,
    Outgoing,
    StreamSpec,
    service_stream,
)

__all__ = [
    "DEAD_LETTERS",
    "DEAD_LETTER_STREAM",
    "Bus",
    "ConsumerSpec",
    "HandleBatch",
    "Listener",
    "Message",
    "MessageTooLarge",
    "Outgoing",
    "StreamSpec",
    "open_bus",
    "service_stream",
]
