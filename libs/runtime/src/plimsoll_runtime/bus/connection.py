"""The connection of a service to NATS, and what it does over it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError

from plimsoll_runtime import logs, names, telemetry
from plimsoll_runtime.bus.consuming import Connection, Consumer
from plimsoll_runtime.bus.messages import ConsumerSpec, HandleBatch, Outgoing, StreamSpec
from plimsoll_runtime.bus.publishing import Publication, Publisher
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import Internal, Unavailable
from plimsoll_runtime.faults import Edge, FaultKind, are_possible, fault_at, through
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import InvalidSettings, NatsSettings, Secret

_CONNECT_CAP_S = 5.0
_PUBLISH_CAP_S = 5.0
_PING_CAP_S = 2.0
_CLOSE_CAP_S = 2.0
_PENDING_BYTES = 16 * 1024 * 1024
_SILENT = "NATS confirms nothing that is published: is its disk full? Its own log tells"
_NAME_IN_USE, _CANNOT_BECOME = 10058, 10052  # JetStream's own error codes


@asynccontextmanager
async def open_bus(settings: NatsSettings, service: str, metrics: Metrics) -> AsyncIterator["Bus"]:
    """Connect; afterwards the connection heals itself for ever.

    Raises Unavailable when the server cannot be reached or does not let us in, InvalidSettings when the URL makes no sense.
    """
    servers, client = _servers(settings.url), Client()
    weather, publisher = _Weather(client, logs.get(service)), Publisher(client)
    try:
        try:
            async with asyncio.timeout(_CONNECT_CAP_S):
                await client.connect(
                    servers,
                    name=service,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,
                    connect_timeout=2,
                    error_cb=weather.error,
                    disconnected_cb=weather.lost,
                    reconnected_cb=weather.found,
                    ping_interval=10,
                    pending_size=_PENDING_BYTES,
                )
                await publisher.listen()
        except (OSError, NatsError) as error:  # a timeout among them
            problem = str(client.last_error or "no answer")
            raise Unavailable(f"NATS cannot be reached: {problem}", reason="NATS_UNAVAILABLE", retry_after_s=1.0) from error
        yield Bus(client, publisher, logs.get(service), metrics, copies=settings.copies)
    finally:
        await _close(client)


class Bus:
    """One connection of one service."""

    def __init__(self, client: Client, publisher: Publisher, log: logs.Log, metrics: Metrics, *, copies: int = 1) -> None:
        self._copies = copies
        self._client = client
        self._publisher = publisher
        self._jetstream = client.jetstream(timeout=_PUBLISH_CAP_S)
        self._log = log
        self._metrics = metrics

    async def ping(self) -> None:
        """Raises Unavailable when the server, or its JetStream, does not answer."""
        # Not the client's own flush: its read loop dies of a pong that comes after the wait for it was given up.
        with _translating():
            async with asyncio.timeout(_PING_CAP_S):
                await self._jetstream.account_info()

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """Make the stream, or bring it to the specification; safe when many do it at once.

        Raises Internal when a stream that exists cannot become what is specified, Unavailable for all else.
        """
        config = StreamConfig(
            name=spec.name,
            subjects=list(spec.subjects),
            storage=StorageType.FILE if spec.durable else StorageType.MEMORY,
            retention=RetentionPolicy.WORK_QUEUE if spec.work_queue else RetentionPolicy.LIMITS,
            max_age=spec.max_age_s,
            max_bytes=spec.max_bytes,
            duplicate_window=min(120.0, spec.max_age_s),
            num_replicas=self._copies,
        )
        with _translating():
            try:
                await self._make(config)
            except APIError as error:
                if isinstance(error, BadRequestError) or error.err_code == _CANNOT_BECOME:
                    raise Internal(f"the stream {spec.name} is refused: {error.description}", reason="STREAM_REFUSED") from error
                raise

    async def publish(self, subject: str, payload: bytes, *, message_id: str, tenant: str) -> None:
        """Publish and wait until the stream has it. Raises Unavailable, or MessageTooLarge."""
        await self.publish_all([Outgoing(subject=subject, payload=payload, message_id=message_id, tenant=tenant)])

    async def publish_all(self, messages: Sequence[Outgoing]) -> None:
        """Publish many in one go, in their order, and wait until the streams have them all.

        Raises MessageTooLarge before any is sent, Unavailable when one was not taken; the others may then be there.
        """
        present = telemetry.outgoing()
        publications = [_publication(message, present) for message in messages]
        if not are_possible() or not messages:
            await self._publish(publications)
            return
        await through(Edge.NATS_PUBLISH, messages[0].subject, lambda: self._publish(publications), away=_away)

    async def _publish(self, publications: Sequence[Publication]) -> None:
        with _translating():
            try:
                async with asyncio.timeout(budget_s(_PUBLISH_CAP_S)):
                    await self._publisher.publish(publications)
            except TimeoutError as error:  # a stream that cannot be written does not say so, but to its server's log
                raise Unavailable(_SILENT, reason="NATS_SILENT", retry_after_s=1.0) from error

    async def notify(self, subject: str, payload: bytes = b"") -> None:
        """Tell whoever listens now; nothing is kept. A lost connection loses the message, silently."""
        fault = fault_at(Edge.NATS_PUBLISH, subject)
        if fault is not None and fault.kind in {FaultKind.DROP, FaultKind.ERROR, FaultKind.TIMEOUT}:
            return
        if self._client.is_connected:
            with suppress(NatsError, OSError):
                await self._client.publish(subject, payload)
                if fault is not None and fault.kind is FaultKind.DUPLICATE:
                    await self._client.publish(subject, payload)

    @asynccontextmanager
    async def listen(self, subject: str, *, bound: int = 1000) -> AsyncIterator["Listener"]:
        """Hear notifications from now on; over `bound` waiting ones the newest are dropped."""
        heard: asyncio.Queue[bytes] = asyncio.Queue(bound)

        async def hear(message: Msg) -> None:
            with suppress(asyncio.QueueFull):
                heard.put_nowait(bytes(message.data))

        with _translating():
            subscription = await self._client.subscribe(subject, cb=hear)
        try:
            yield Listener(heard)
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

    async def consume(self, spec: ConsumerSpec, handle: HandleBatch, stop: asyncio.Event) -> None:
        """Hand over batches until `stop` is set; a batch is acknowledged after `handle` returned, so commit inside.

        A handler that raises Unavailable, Exhausted or DeadlineExpired, or takes longer than `ack_wait_s`, says "later": the batch
        comes back after a growing pause, without limit. Any other error means that a message cannot be handled: each is tried
        alone, and after `attempts`, or at once when it is Invalid, it goes to the dead letters with its cause.
        """
        connection = Connection(
            client=self._client,
            jetstream=self._jetstream,
            publisher=self._publisher,
            ensure_stream=self.ensure_stream,
            metrics=self._metrics,
            log=self._log,
        )
        await Consumer(connection, spec, handle).run(stop)

    async def _make(self, config: StreamConfig) -> None:
        try:
            await self._jetstream.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            await self._jetstream.update_stream(config)

    async def _first(self, stream: str, subject: str, sequence: int) -> datetime | None:
        try:
            published: datetime | None = (await self._jetstream.get_msg(stream, seq=sequence, subject=subject, next=True)).time
        except NotFoundError:
            return None
        return published


class Listener:
    """Notifications as they come."""

    def __init__(self, heard: "asyncio.Queue[bytes]") -> None:
        self._heard = heard

    async def next(self, timeout_s: float) -> bytes | None:
        """The next notification's payload, or None after `timeout_s` without one."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._heard.get()
        except TimeoutError:
            return None


class _Weather:
    """Tells of the connection: that it is lost or found, and an error once until the next such change, not five times a second."""

    def __init__(self, client: Client, log: logs.Log) -> None:
        self._client = client
        self._log = log
        self._told: set[str] = set()

    async def error(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._told:
            self._told.add(kind)
            self._log.warning("nats.error", {"error": kind})

    async def lost(self) -> None:
        self._told.clear()
        if not self._client.is_closed:
            self._log.warning("nats.disconnected")

    async def found(self) -> None:
        self._told.clear()
        self._log.info("nats.reconnected")


def _servers(url: Secret) -> list[str]:
    servers = url.reveal().split(",")
    try:
        sensible = all(urlsplit(server).hostname and urlsplit(server).port != 0 for server in servers)
    except ValueError:
        sensible = False
    if not sensible:  # not from the ValueError: it quotes what it could not read, and that may be a part of the password
        raise InvalidSettings("NATS_URL is not a URL that makes sense", remedy="escape @ : / ? # % and , in the password")
    return servers


async def _close(client: Client) -> None:
    with suppress(NatsError, OSError):
        async with asyncio.timeout(_CLOSE_CAP_S):
            if client.is_connected:
                await client.flush()
    with suppress(NatsError, OSError):
        async with asyncio.timeout(_CLOSE_CAP_S):
            await client.close()


def _publication(message: Outgoing, present: str) -> Publication:
    headers = {**message.headers, names.MESSAGE_ID_HEADER: message.message_id, names.TENANT_HEADER: message.tenant}
    if trace := message.trace or present:
        headers[names.TRACE_HEADER] = trace
    return Publication(message.subject, message.payload, headers)


def _away() -> Unavailable:
    return Unavailable("NATS did not answer as it should", reason="NATS_UNAVAILABLE", retry_after_s=1.0)


@contextmanager
def _translating() -> Iterator[None]:
    """Turn the client's errors inside the block into Unavailable."""
    try:
        yield
    except NotFoundError as error:
        raise Unavailable("the stream or consumer does not exist", reason="NATS_STREAM_MISSING", retry_after_s=1.0) from error
    except (NatsError, OSError) as error:
        refusal = error.description if isinstance(error, APIError) else None
        raise (Unavailable(f"NATS refuses: {refusal}", reason="NATS_REFUSED", retry_after_s=1.0) if refusal else _away()) from error
