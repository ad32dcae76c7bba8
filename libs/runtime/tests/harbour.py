"""A stream, messages, handlers and connections for the tests of the bus."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from plimsoll_runtime.bus import Bus, ConsumerSpec, HandleBatch, Message, Outgoing, open_bus, service_stream
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import NatsSettings, Secret

STREAM = service_stream("harbour")
ARRIVED = "plimsoll.v1.harbour.ship.arrived"
CONSUMER = ConsumerSpec(stream=STREAM, durable="pilot", subjects=(ARRIVED,))
SOON = 60.0


@asynccontextmanager
async def connected(url: str, metrics: Metrics | None = None) -> AsyncIterator[Bus]:
    async with open_bus(NatsSettings(url=Secret(url)), "probe", metrics or Metrics()) as bus:
        yield bus


def ships(*numbers: int) -> list[Outgoing]:
    return [Outgoing(subject=ARRIVED, payload=str(number).encode(), message_id=f"ship-{number}", tenant="acme") for number in numbers]


def numbers(messages: Iterable[Message]) -> list[int]:
    return [int(message.payload) for message in messages]


class Pilot:
    """A handler that remembers what it took, and refuses what a test tells it to."""

    def __init__(self, refuse: Callable[[Sequence[Message]], Exception | None] = lambda _: None) -> None:
        self.taken: list[Message] = []
        self.batches: list[list[int]] = []
        self.refuse = refuse

    async def __call__(self, messages: Sequence[Message]) -> None:
        self.batches.append(numbers(messages))
        error = self.refuse(messages)
        if error is not None:
            raise error
        self.taken += messages


@asynccontextmanager
async def consuming(bus: Bus, handle: HandleBatch, spec: ConsumerSpec = CONSUMER) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bus.consume(spec, handle, stop))
        try:
            yield
        finally:
            stop.set()


async def drained(bus: Bus) -> bool:
    """Whether all that was published is acknowledged."""
    return await waiting(bus) == 0


async def is_waiting(bus: Bus, messages: int) -> bool:
    return await waiting(bus) == messages


async def waiting(bus: Bus) -> int | None:
    """How many messages are not acknowledged; None before the consumer is made."""
    try:
        return await bus.lag(CONSUMER)
    except Unavailable:
        return None


async def published(bus: Bus, number: int) -> bool:
    try:
        await bus.publish_all(ships(number))
    except Unavailable:
        return False
    return True
