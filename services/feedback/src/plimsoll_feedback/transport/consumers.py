"""The durable consumers: events of four services become operations, acknowledged after the commit."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Final

from plimsoll_runtime.bus import Bus, ConsumerSpec, Message, service_stream
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.lifecycle import Loop
from plimsoll_runtime.logs import Log
from plimsoll_runtime.metrics import Metrics
from prometheus_client import Counter, Gauge, Histogram

from plimsoll_feedback.domain.events import Event, JournalEntry, Unknown, happened_at
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.transport.event_codec import (
    model_call_completed,
    quality_drifted,
    quality_measured,
    run_advanced,
    search_completed,
    tool_call_completed,
)

CONSUMER_LAG: Final = "plimsoll_consumer_lag_messages"
CONSUMER_OLDEST: Final = "plimsoll_consumer_oldest_seconds"
QUERYABLE_SECONDS: Final = "plimsoll_feedback_queryable_seconds"
UNKNOWN_ENTRIES: Final = "plimsoll_feedback_unknown_entries"

_ACK_WAIT_S: Final = 60.0
_WATCH_EVERY_S: Final = 5.0
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of event: which service publishes it, where, and how it is read."""

    service: str
    subject: str
    decode: Callable[[bytes], Event]
    durable: str = ""

    def consumer(self, batch: int) -> ConsumerSpec:
        """Durable by the publisher's name. The stream is made by whoever comes first, from the specification all share."""
        return ConsumerSpec(
            stream=service_stream(self.service),
            durable=self.durable or f"feedback_{self.service}",
            subjects=(self.subject,),
            batch=batch,
            ack_wait_s=_ACK_WAIT_S,
        )


SOURCES: Final = (
    Source(service="orchestrator", subject="plimsoll.v1.orchestrator.run.advanced", decode=run_advanced),
    Source(service="tool_dispatcher", subject="plimsoll.v1.tool_dispatcher.call.completed", decode=tool_call_completed),
    Source(service="model_router", subject="plimsoll.v1.model_router.call.completed", decode=model_call_completed),
    Source(service="memory", subject="plimsoll.v1.memory.search.completed", decode=search_completed),
    Source(
        service="memory",
        subject="plimsoll.v1.memory.quality.measured",
        decode=quality_measured,
        durable="feedback_memory_measured",
    ),
    Source(service="memory", subject="plimsoll.v1.memory.quality.drifted", decode=quality_drifted, durable="feedback_memory_drifted"),
)


class EventConsumers:
    """Feeds the service from the bus, and watches how far behind it is."""

    def __init__(self, service: FeedbackService, bus: Bus, clock: Clock, metrics: Metrics, log: Log, *, batch: int) -> None:
        self._service = service
        self._bus = bus
        self._clock = clock
        self._log = log
        self._batch = batch
        self._lag = Gauge(CONSUMER_LAG, "Messages not acknowledged yet; NaN when unknown", ("durable",), registry=metrics.registry)
        self._oldest = Gauge(
            CONSUMER_OLDEST, "Age of the oldest message not acknowledged yet; NaN when unknown", ("durable",), registry=metrics.registry
        )
        self._queryable = Histogram(
            QUERYABLE_SECONDS, "From an event to its being stored", ("durable",), buckets=_BUCKETS, registry=metrics.registry
        )

        self._unknown = Counter(UNKNOWN_ENTRIES, "Journal entries of a kind that only a newer version knows", registry=metrics.registry)

    def loops(self) -> Mapping[str, Loop]:
        """One loop a source, and the one that watches them."""
        consuming: dict[str, Loop] = {f"consume {source.subject}": partial(self._consume, source) for source in SOURCES}
        return consuming | {"watch the lag": self._watch}

    async def measure(self) -> None:
        """Set the gauges of how far behind each consumer is."""
        for source in SOURCES:
            await self._measure(source.consumer(self._batch))

    async def _consume(self, source: Source, stop: asyncio.Event) -> None:
        spec = source.consumer(self._batch)
        await self._bus.consume(spec, partial(self._ingest, source, spec.durable), stop)

    async def _ingest(self, source: Source, durable: str, messages: Sequence[Message]) -> None:
        """Store a batch. A message that cannot be read is refused as Invalid: the bus then tries each alone and gives up that one."""
        started = time.perf_counter()
        events = [source.decode(message.payload) for message in messages]
        await self._service.record_operations(events)
        now = self._clock.now()
        for event in events:
            self._queryable.labels(durable).observe(max(0.0, (now - happened_at(event)).total_seconds()))
            if isinstance(event, JournalEntry) and isinstance(event.entry, Unknown):
                self._unknown.inc()
        elapsed_ms = round((time.perf_counter() - started) * 1e3, 2)
        self._log.info("feedback.ingested", {"durable": durable, "events": len(events), "ms": elapsed_ms})

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.measure()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_EVERY_S):
                    await stop.wait()

    async def _measure(self, spec: ConsumerSpec) -> None:
        lag, oldest_s = nan, nan
        try:
            lag = float(await self._bus.lag(spec))
            oldest = await self._bus.oldest(spec) if lag else None
            oldest_s = 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest).total_seconds())
        except Unavailable as error:
            self._log.debug("feedback.lag_unknown", {"durable": spec.durable, "reason": error.reason})
        self._lag.labels(spec.durable).set(lag)
        self._oldest.labels(spec.durable).set(oldest_s)
