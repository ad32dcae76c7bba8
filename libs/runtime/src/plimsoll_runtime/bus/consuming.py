"""Durable consumers: batches handed over, acknowledged after the commit, tried again, given up with their cause.

The pull protocol is spoken directly (JetStream API `CONSUMER.MSG.NEXT`): a batch is handed over as soon as something is there,
silence is told from loss by heartbeats, and a consumer or a stream that vanished is made anew.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from opentelemetry.trace import SpanKind

from plimsoll_runtime import deadline, logs, names, telemetry
from plimsoll_runtime.bus.messages import (
    DEAD_LETTER_STREAM,
    DEAD_LETTERS,
    ConsumerSpec,
    HandleBatch,
    Message,
    MessageTooLarge,
    StreamSpec,
)
from plimsoll_runtime.bus.publishing import Publication, Publisher
from plimsoll_runtime.errors import Invalid, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.faults import Edge, are_possible, through
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.retry import Backoff

_PUBLISH_CAP_S = 5.0
_HEARTBEAT_S = 5.0
_SILENT_S = 2.5 * _HEARTBEAT_S
_EXPIRES_S = 25.0
_LOOK_S = 0.5  # how soon an order to stop and a connection that was made anew are noticed
_REBUILD_FIRST_S, _REBUILD_MOST_S = 0.2, 5.0
_LATER_FIRST_S, _LATER_MOST_S = 0.4, 30.0
_FAILURES_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a consumer needs of its bus."""

    client: Client
    jetstream: JetStreamContext
    publisher: Publisher
    ensure_stream: Callable[[StreamSpec], Awaitable[None]]
    metrics: Metrics
    log: logs.Log


class Consumer:
    """One durable consumer in one process."""

    def __init__(self, connection: Connection, spec: ConsumerSpec, handle: HandleBatch) -> None:
        self._on = connection
        self._spec = spec
        self._handle = handle
        self._failures: dict[int, int] = {}  # by sequence in the stream: the server counts deliveries, in outages too

    async def run(self, stop: asyncio.Event) -> None:
        """Hand over batches until `stop` is set, whatever happens to the server meanwhile."""
        backoff = Backoff(_REBUILD_FIRST_S, _REBUILD_MOST_S)
        while not stop.is_set():
            try:
                async with self._pulling() as pull:
                    while batch := await pull.next(stop):
                        backoff.reset()
                        await self._settle(batch)
            except (NatsError, OSError, PlimsollError) as error:
                message = error.message if isinstance(error, PlimsollError) else ""
                self._on.log.warning("bus.consumer_rebuilt", {"durable": self._spec.durable, "reason": _reason(error), "message": message})
                await backoff.pause(stop)

    @asynccontextmanager
    async def _pulling(self) -> AsyncIterator["_Pull"]:
        spec = self._spec
        await self._on.ensure_stream(spec.stream)
        config = ConsumerConfig(
            durable_name=spec.durable,
            filter_subjects=list(spec.subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=spec.ack_wait_s,
            max_deliver=-1,
            max_ack_pending=max(1000, spec.batch * 4),
        )
        await self._on.jetstream.add_consumer(spec.stream.name, config)
        pull = _Pull(self._on.client, spec)
        subscription = await self._on.client.subscribe(pull.inbox, cb=pull.arrived)
        try:
            yield pull
        finally:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()
                await pull.give_back()

    async def _settle(self, batch: Sequence[Msg]) -> None:
        started = time.perf_counter()
        try:
            await self._hand_over([_incoming(message) for message in batch])
        except Exception as error:  # noqa: BLE001 - the supervisor of all handlers: whatever went wrong decides only about these messages
            cause = unwrap(error)
            if isinstance(cause, PlimsollError) and cause.retryable:
                await self._later(batch, cause)
            elif len(batch) > 1:
                await self._settle_alone(batch)
            else:
                await self._reject(batch[0], cause)
            return
        for message in batch:
            await message.ack()
            self._failures.pop(message.metadata.sequence.stream, None)
        self._count("handled", len(batch))
        elapsed_ms = round((time.perf_counter() - started) * 1e3, 2)
        self._on.log.info("bus.handled", {"durable": self._spec.durable, "messages": len(batch), "ms": elapsed_ms})

    async def _hand_over(self, batch: Sequence[Message]) -> None:
        """In a span below the one that published, when that is one; linked to those of all when they are many."""
        traces = [message.headers.get(names.TRACE_HEADER, "") for message in batch]
        parent, linked = (traces[0], ()) if len(traces) == 1 else ("", traces)
        with (
            telemetry.span(f"{self._spec.durable} process", SpanKind.CONSUMER, parent, linked=linked) as trace_id,
            logs.bound({names.TRACE_ID: trace_id} if trace_id else {}),
        ):
            async with deadline.within(self._spec.ack_wait_s):
                if are_possible():
                    await through(Edge.NATS_CONSUME, self._spec.durable, lambda: self._handle(batch), away=_lost)
                else:
                    await self._handle(batch)

    async def _settle_alone(self, batch: Sequence[Msg]) -> None:
        """Try each by itself; those that wait for their turn stay ours meanwhile."""
        extended = 0.0
        for index, message in enumerate(batch):
            if time.monotonic() - extended > self._spec.ack_wait_s / 4:
                extended = time.monotonic()
                for waiting in batch[index:]:
                    await waiting.in_progress()
            await self._settle([message])

    async def _later(self, batch: Sequence[Msg], cause: PlimsollError) -> None:
        backoff = Backoff(_LATER_FIRST_S, _LATER_MOST_S, tries=batch[0].metadata.num_delivered - 1)
        delay = backoff.next_s()
        for message in batch:
            await message.nak(delay=delay)
        self._count("later", len(batch))
        fields: dict[str, logs.Field] = {"durable": self._spec.durable, "messages": len(batch), "reason": cause.reason}
        self._on.log.warning("bus.batch_later", fields | {"delay_s": round(delay, 2)})

    async def _reject(self, message: Msg, cause: BaseException) -> None:
        """Try it again later, or give it up when it was tried often enough; what breaks its contract is not tried again."""
        sequence = message.metadata.sequence.stream
        if len(self._failures) > _FAILURES_KEPT:  # others have settled what was left behind here
            self._failures.clear()
        tried = self._failures[sequence] = self._failures.get(sequence, 0) + 1
        if tried < self._spec.attempts and not isinstance(cause, Invalid):
            self._on.log.warning("bus.message_failed", {"durable": self._spec.durable, "tried": tried, "error": type(cause).__name__})
            await message.nak(delay=_LATER_FIRST_S * 2 ** (tried - 1))
            return
        async with asyncio.timeout(_PUBLISH_CAP_S):
            await self._bury(message, cause, tried)
        await message.term()
        self._failures.pop(sequence, None)
        self._on.metrics.dead_letters.labels(self._spec.durable).inc()
        fields: dict[str, logs.Field] = {"durable": self._spec.durable, "subject": message.subject, "reason": _reason(cause)}
        self._on.log.error("bus.dead_letter", fields | {"tried": tried}, error=cause)

    async def _bury(self, message: Msg, cause: BaseException, tried: int) -> None:
        """Keep the message with what made us give it up; without its payload when the two are too large together."""
        sequence = message.metadata.sequence.stream
        headers = dict(message.headers or {}) | {
            names.CAUSE_HEADER: " ".join(f"{_reason(cause)}: {cause}".split())[:300],
            names.ATTEMPTS_HEADER: str(tried),
            names.SUBJECT_HEADER: message.subject,
            names.SEQUENCE_HEADER: f"{message.metadata.stream}:{sequence}",
            names.MESSAGE_ID_HEADER: f"{self._spec.durable}:{(message.headers or {}).get(names.MESSAGE_ID_HEADER, sequence)}",
        }
        subject = f"{DEAD_LETTERS}.{self._spec.durable}"
        await self._on.ensure_stream(DEAD_LETTER_STREAM)
        try:
            await self._on.publisher.publish([Publication(subject, message.data, headers)])
        except MessageTooLarge:
            await self._on.publisher.publish([Publication(subject, b"", headers)])

    def _count(self, outcome: str, messages: int) -> None:
        self._on.metrics.messages.labels(self._spec.durable, outcome).inc(messages)


class _Pull:
    """One standing request for messages at a time, renewed when it is used up or has expired."""

    def __init__(self, client: Client, spec: ConsumerSpec) -> None:
        self.inbox = client.new_inbox()
        self._client = client
        self._batch = spec.batch
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream.name}.{spec.durable}"
        self._request = orjson.dumps({"batch": spec.batch, "expires": int(_EXPIRES_S * 1e9), "idle_heartbeat": int(_HEARTBEAT_S * 1e9)})
        self._reconnects = client.stats["reconnects"]
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue(spec.batch * 4)  # no more come than were asked for
        self._wanted = 0

    async def arrived(self, message: Msg) -> None:
        """Called by the client for whatever comes to the inbox."""
        self._arrived.put_nowait(message)

    async def next(self, stop: asyncio.Event) -> list[Msg]:
        """What is there now, at least one; empty when asked to stop. Raises Unavailable when the consumer is gone or silent."""
        heard = time.monotonic()
        while not stop.is_set():
            if self._wanted <= 0:
                self._wanted = self._batch
                await self._client.publish(self._subject, self._request, reply=self.inbox)
            try:
                async with asyncio.timeout(_LOOK_S):
                    batch = self._take(await self._arrived.get())
            except TimeoutError:
                self._check_alive(heard)
                continue
            heard = time.monotonic()
            while len(batch) < self._batch and not self._arrived.empty():
                batch += self._take(self._arrived.get_nowait())
            if batch:
                return batch
        return []

    async def give_back(self) -> None:
        """Let others have at once what came and was not handed over."""
        while not self._arrived.empty():
            for message in self._take(self._arrived.get_nowait()):
                await message.nak()

    def _check_alive(self, heard: float) -> None:
        if self._client.stats["reconnects"] != self._reconnects:
            raise Unavailable("the connection was lost, and the request with it", reason="NATS_RECONNECTED")
        if time.monotonic() - heard > _SILENT_S:
            raise Unavailable("not even heartbeats arrive", reason="NATS_SILENT")

    def _take(self, message: Msg) -> list[Msg]:
        status = (message.headers or {}).get("Status", "") if message.subject == self.inbox or not message.reply else ""
        match status:
            case "":
                self._wanted -= 1
                return [message]
            case "100":  # heartbeat
                return []
            case "404" | "408":  # nothing there, or the request expired
                self._wanted = 0
                return []
            case _:  # 409 consumer deleted, 503 no responders …
                raise Unavailable(f"the consumer is gone ({status})", reason="NATS_CONSUMER_GONE")


def _incoming(message: Msg) -> Message:
    headers = dict(message.headers or {})
    return Message(
        subject=message.subject,
        payload=bytes(message.data),
        message_id=headers.get(names.MESSAGE_ID_HEADER, ""),
        tenant=headers.get(names.TENANT_HEADER, ""),
        attempt=message.metadata.num_delivered,
        headers=headers,
    )


def _lost() -> Unavailable:
    return Unavailable("the messages were not handled (a fault on demand)", reason="FAULT_INJECTED")


def _reason(cause: BaseException) -> str:
    return cause.reason if isinstance(cause, PlimsollError) else type(cause).__name__
