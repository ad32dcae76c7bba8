"""NATS: publish, notify, listen, and durable consumers that survive a restart of the server.

The pull protocol is spoken directly (JetStream API `CONSUMER.MSG.NEXT`): a batch is handed over as soon as something is there,
silence is told from loss by heartbeats, and a consumer or a stream that vanished is made anew.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from plimsoll_runtime import logs, names, telemetry
from plimsoll_runtime.errors import DeadlineExpired, Invalid, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import NatsSettings

DEAD_LETTERS = "plimsoll.v1.dead_letter"
_PUBLISH_CAP_S = 5.0
_CONNECT_CAP_S = 5.0
_HEARTBEAT_S = 5.0
_EXPIRES_S = 25.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 30.0


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
    """A durable pull consumer. `attempts` bounds how often a message that our code cannot handle is tried."""

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


HandleBatch: TypeAlias = Callable[[Sequence[Message]], Awaitable[None]]


def service_stream(service: str) -> StreamSpec:
    """The stream of a service's events, `plimsoll.v1.<service>.<noun>.<verb>`; made by whoever needs it first."""
    snake = service.replace("-", "_")
    return StreamSpec(name=f"PLIMSOLL_{snake.upper()}", subjects=(f"plimsoll.v1.{snake}.*.*",))


DEAD_LETTER_STREAM = StreamSpec(name="PLIMSOLL_DEAD_LETTER", subjects=(f"{DEAD_LETTERS}.>",), max_age_s=30 * 24 * 3600.0)


@asynccontextmanager
async def open_bus(settings: NatsSettings, service: str, metrics: Metrics) -> AsyncIterator["Bus"]:
    """Connect; afterwards the connection heals itself for ever. Raises Unavailable when the server cannot be reached now."""
    log = logs.get(service)

    async def note(error: Exception) -> None:
        log.warning("nats.error", {"error": type(error).__name__})

    try:
        async with asyncio.timeout(_CONNECT_CAP_S):
            client = await nats.connect(
                settings.url.reveal(),
                name=service,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                connect_timeout=2,
                allow_reconnect=True,
                error_cb=note,
                ping_interval=10,
                pending_size=16 * 1024 * 1024,
            )
    except (OSError, NatsError, TimeoutError) as error:
        raise Unavailable("NATS cannot be reached", reason="NATS_UNAVAILABLE", retry_after_s=1.0) from error
    try:
        yield Bus(client, log, metrics)
    finally:
        with suppress(NatsError, TimeoutError, OSError):
            async with asyncio.timeout(2):
                await client.flush()
        await client.close()


class Bus:
    """One connection of one service."""

    def __init__(self, client: Client, log: logs.Log, metrics: Metrics) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=_PUBLISH_CAP_S, publish_async_max_pending=4000)
        self._log = log
        self._metrics = metrics

    async def ping(self) -> None:
        """Raises Unavailable when the server does not answer."""
        with _translating():
            await self._client.flush(timeout=2)

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Make the stream, or bring it to the specification; safe when many do it at once."""
        config = StreamConfig(
            name=spec.name,
            subjects=list(spec.subjects),
            storage=StorageType.FILE if spec.durable else StorageType.MEMORY,
            retention=RetentionPolicy.WORK_QUEUE if spec.work_queue else RetentionPolicy.LIMITS,
            max_age=spec.max_age_s,
            max_bytes=spec.max_bytes,
            duplicate_window=min(120.0, spec.max_age_s),
        )
        with _translating():
            try:
                await self._jetstream.add_stream(config)
            except APIError:
                await self._jetstream.update_stream(config)

    async def publish(self, subject: str, payload: bytes, *, message_id: str, tenant: str) -> None:
        """Publish and wait until the stream has it. Raises Unavailable."""
        await self.publish_all([Outgoing(subject=subject, payload=payload, message_id=message_id, tenant=tenant)])

    async def publish_all(self, messages: Sequence["Outgoing"]) -> None:
        """Publish many in one go and wait until the stream has them all. Raises Unavailable when one was not taken."""
        with _translating():
            async with asyncio.timeout(_PUBLISH_CAP_S):
                trace = telemetry.outgoing()
                answers = [
                    await self._jetstream.publish_async(m.subject, m.payload, wait_stall=_PUBLISH_CAP_S, headers=_headers(m, trace))
                    for m in messages
                ]
                await asyncio.gather(*answers)

    async def notify(self, subject: str, payload: bytes = b"") -> None:
        """Tell whoever listens now; nothing is kept. A lost connection loses the message, silently."""
        if self._client.is_connected:
            with suppress(NatsError, OSError):
                await self._client.publish(subject, payload)

    @asynccontextmanager
    async def listen(self, subject: str, *, bound: int = 1000) -> AsyncIterator["Listener"]:
        """Hear notifications from now on; over `bound` waiting ones the newest are dropped."""
        with _translating():
            subscription = await self._client.subscribe(subject, pending_msgs_limit=bound)
        try:
            yield Listener(subscription)
        finally:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def lag(self, spec: ConsumerSpec) -> int:
        """Messages that the consumer has not acknowledged yet. Raises Unavailable."""
        with _translating():
            state = await self._jetstream.consumer_info(spec.stream.name, spec.durable)
        return int((state.num_pending or 0) + (state.num_ack_pending or 0))

    async def oldest(self, spec: ConsumerSpec) -> datetime | None:
        """When the oldest message that the consumer has not acknowledged was published; None when there is none. Raises Unavailable."""
        with _translating():
            state = await self._jetstream.consumer_info(spec.stream.name, spec.durable)
            behind = state.ack_floor.stream_seq if state.ack_floor else 0
            first = [await self._first(spec.stream.name, subject, behind + 1) for subject in spec.subjects]
        return min((at for at in first if at is not None), default=None)

    async def _first(self, stream: str, subject: str, sequence: int) -> datetime | None:
        try:
            published: datetime | None = (await self._jetstream.get_msg(stream, seq=sequence, subject=subject, next=True)).time
        except NotFoundError:
            return None
        return published

    async def consume(self, spec: ConsumerSpec, handle: HandleBatch, stop: asyncio.Event) -> None:
        """Hand over batches until `stop` is set; a batch is acknowledged after `handle` returned, so commit inside.

        Unavailable, Exhausted and DeadlineExpired mean "later": the batch comes back after a growing pause, without limit.
        Any other error means that a message cannot be handled: each is tried alone, and after `attempts` it goes to the dead
        letters with its cause.
        """
        backoff = _Backoff()
        while not stop.is_set():
            try:
                async with self._pulling(spec) as pull:
                    backoff.reset()
                    while not stop.is_set():
                        batch = await pull.next(stop)
                        if batch:
                            await self._settle(spec, batch, handle)
            except (NatsError, OSError, TimeoutError, PlimsollError) as error:
                self._log.warning("bus.consumer_rebuilt", {"durable": spec.durable, "error": type(error).__name__})
                await backoff.pause(stop)

    @asynccontextmanager
    async def _pulling(self, spec: ConsumerSpec) -> AsyncIterator["_Pull"]:
        await self.ensure_stream(spec.stream)
        config = ConsumerConfig(
            durable_name=spec.durable,
            filter_subjects=list(spec.subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=spec.ack_wait_s,
            max_deliver=-1,
            max_ack_pending=max(1000, spec.batch * 4),
        )
        await self._jetstream.add_consumer(spec.stream.name, config)
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, pending_msgs_limit=spec.batch * 8)
        try:
            yield _Pull(self._client, subscription, inbox, spec)
        finally:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def _settle(self, spec: ConsumerSpec, batch: Sequence[Msg], handle: HandleBatch) -> None:
        try:
            await handle([_incoming(message) for message in batch])
        except Exception as error:  # noqa: BLE001 - the supervisor of all handlers: whatever went wrong decides only about these messages
            if _later(error):
                delay = random.uniform(0.5, 1.0) * min(_RETRY_MOST_S, _RETRY_FIRST_S * 2 ** min(8, batch[0].metadata.num_delivered))  # noqa: S311
                self._metrics.messages.labels(spec.durable, "later").inc(len(batch))
                self._log.warning("bus.batch_later", {"durable": spec.durable, "messages": len(batch), "delay_s": round(delay, 2)})
                for message in batch:
                    await message.nak(delay=delay)
            elif len(batch) > 1:
                for message in batch:
                    await self._settle(spec, [message], handle)
            else:
                await self._reject(spec, batch[0], error)
            return
        for message in batch:
            await message.ack()
        self._metrics.messages.labels(spec.durable, "handled").inc(len(batch))

    async def _reject(self, spec: ConsumerSpec, message: Msg, error: Exception) -> None:
        attempt = message.metadata.num_delivered
        cause = unwrap(error)
        if attempt < spec.attempts and not isinstance(cause, Invalid):
            self._log.warning("bus.message_failed", {"durable": spec.durable, "attempt": attempt, "error": type(cause).__name__})
            await message.nak(delay=_RETRY_FIRST_S * 2**attempt)
            return
        reason = cause.reason if isinstance(cause, PlimsollError) else type(cause).__name__
        headers = dict(message.headers or {}) | {
            names.CAUSE_HEADER: f"{reason}: {str(cause)[:300]}".replace("\n", " "),
            names.ATTEMPTS_HEADER: str(attempt),
            names.SUBJECT_HEADER: message.subject,
            names.MESSAGE_ID_HEADER: f"{spec.durable}:{(message.headers or {}).get(names.MESSAGE_ID_HEADER, message.metadata.sequence.stream)}",
        }
        await self.ensure_stream(DEAD_LETTER_STREAM)
        await self._jetstream.publish(f"{DEAD_LETTERS}.{spec.durable}", message.data, headers=headers)
        await message.term()
        self._metrics.dead_letters.labels(spec.durable).inc()
        self._log.error(
            "bus.dead_letter", {"durable": spec.durable, "subject": message.subject, "reason": reason, "attempts": attempt}, error=error
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish; `message_id` makes a repeat within two minutes harmless."""

    subject: str
    payload: bytes
    message_id: str
    tenant: str


class Listener:
    """Notifications as they come."""

    def __init__(self, subscription: Any) -> None:
        self._subscription = subscription

    async def next(self, timeout_s: float) -> bytes | None:
        """The next notification's payload, or None after `timeout_s` without one."""
        try:
            message = await self._subscription.next_msg(timeout=timeout_s)
        except (NatsError, TimeoutError):
            return None
        return bytes(message.data)


class _Pull:
    """One standing request for messages at a time, renewed when it is used up or has expired."""

    def __init__(self, client: Client, subscription: Any, inbox: str, spec: ConsumerSpec) -> None:
        self._client = client
        self._subscription = subscription
        self._inbox = inbox
        self._spec = spec
        self._wanted = 0
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream.name}.{spec.durable}"

    async def next(self, stop: asyncio.Event) -> list[Msg]:
        """What is there now, at least one; empty when asked to stop. Raises Unavailable when not even heartbeats arrive."""
        silent_s = 0.0
        while not stop.is_set():
            if self._wanted <= 0:
                await self._ask()
            try:
                message = await self._subscription.next_msg(timeout=0.5)
            except TimeoutError:  # nats-py's own timeout error is one
                silent_s += 0.5
                if silent_s > _HEARTBEAT_S * 2.5:
                    raise Unavailable("the stream is silent", reason="NATS_SILENT") from None
                continue
            silent_s = 0.0
            batch = self._take(message)
            while len(batch) < self._spec.batch and self._subscription.pending_msgs > 0:
                batch += self._take(await self._subscription.next_msg(timeout=0.5))
            if batch:
                return batch
        return []

    async def _ask(self) -> None:
        self._wanted = self._spec.batch
        request = {"batch": self._wanted, "expires": int(_EXPIRES_S * 1e9), "idle_heartbeat": int(_HEARTBEAT_S * 1e9)}
        await self._client.publish(self._subject, orjson.dumps(request), reply=self._inbox)

    def _take(self, message: Msg) -> list[Msg]:
        status = (message.headers or {}).get("Status", "") if message.subject == self._inbox or not message.reply else ""
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


class _Backoff:
    def __init__(self) -> None:
        self._tries = 0

    def reset(self) -> None:
        self._tries = 0

    async def pause(self, stop: asyncio.Event) -> None:
        """Wait a growing, jittered time, or until `stop`."""
        self._tries += 1
        seconds = random.uniform(0.5, 1.0) * min(5.0, _RETRY_FIRST_S * 2 ** min(8, self._tries))  # noqa: S311 - jitter, not a secret
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()


class _translating:  # noqa: N801 - reads as a statement: `with _translating():`
    """Turn the client's errors inside the block into Unavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NotFoundError):
            raise Unavailable("the stream or consumer does not exist", reason="NATS_STREAM_MISSING", retry_after_s=1.0) from error
        if isinstance(error, NatsError | OSError | TimeoutError):
            raise Unavailable("NATS did not take the message", reason="NATS_UNAVAILABLE", retry_after_s=1.0) from error


def _later(error: BaseException) -> bool:
    leaf = unwrap(error)
    return isinstance(leaf, DeadlineExpired) or (isinstance(leaf, PlimsollError) and leaf.retryable)


def _headers(message: Outgoing, trace: str) -> dict[str, str]:
    headers = {names.MESSAGE_ID_HEADER: message.message_id, names.TENANT_HEADER: message.tenant}
    if trace:
        headers[names.TRACE_HEADER] = trace
    return headers


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
