"""One trace through gRPC, the outbox and NATS, and nothing in it that must not leave the service."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from plimsoll_runtime import logs, telemetry
from plimsoll_runtime.bus import ConsumerSpec, Message, open_bus, service_stream
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import NotFound, PlimsollError
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxEvent, OutboxRelay, add_events
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret
from plimsoll_testkit import eventually
from runtime_probe import ASK, SERVICE, asking, serving

STREAM = service_stream("harbour")
ARRIVED = "plimsoll.v1.harbour.ship.arrived"
CONSUMER = ConsumerSpec(stream=STREAM, durable="pilot", subjects=(ARRIVED,))
SOON = 60.0


@pytest.fixture(scope="session")
def _exporter() -> InMemorySpanExporter:
    """OpenTelemetry takes one provider for the life of a process."""
    exporter, provider = InMemorySpanExporter(), trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def spans(_exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    _exporter.clear()
    return _exporter


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def lineage(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.context is not None
    assert parent.context is not None
    return child.parent is not None and child.parent.span_id == parent.context.span_id and child.context.trace_id == parent.context.trace_id


async def test_a_trace_goes_through_two_services(spans: InMemorySpanExporter):
    async with serving() as end, asking(end.address) as onward:

        async def middle(request: bytes, _: object) -> bytes:
            return await call(onward.ask, request, cap_s=SOON)

        async with serving(ask=middle) as entry, asking(entry.address) as asker:
            with acting_for("acme"), telemetry.span("front door", SpanKind.SERVER) as trace_id:
                await call(asker.ask, b"", cap_s=SOON)
    first, second = named(spans, ASK.lstrip("/"))
    [door] = named(spans, "front door")
    assert lineage(first, second)
    assert lineage(second, door)
    assert door.context is not None
    assert f"{door.context.trace_id:032x}" == trace_id


async def test_a_span_ends_with_its_block(spans: InMemorySpanExporter):
    with telemetry.span("outer", SpanKind.INTERNAL):
        outer = telemetry.outgoing()
        with telemetry.span("inner", SpanKind.INTERNAL):
            assert telemetry.outgoing() != outer
        assert telemetry.outgoing() == outer
    assert telemetry.outgoing() == ""
    assert len(spans.get_finished_spans()) == 2


async def test_a_stream_is_in_the_trace_too(spans: InMemorySpanExporter):
    async with serving() as served, asking(served.address) as asker:
        with acting_for("acme"), telemetry.span("front door", SpanKind.SERVER):
            async with aclosing(stream(asker.watch, b"3", cap_s=SOON)) as answers:
                assert [answer async for answer in answers] == [b"0", b"1", b"2"]
    await eventually(lambda: named(spans, f"{SERVICE}/Watch"))
    assert lineage(named(spans, f"{SERVICE}/Watch")[0], named(spans, "front door")[0])


async def test_a_trace_goes_through_the_outbox_and_nats(spans: InMemorySpanExporter, postgres_dsn: str, nats_url: str):
    async with (
        open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "harbour") as pool,
        open_bus(NatsSettings(url=Secret(nats_url)), "probe", Metrics()) as bus,
    ):
        await migrate(pool, "harbour", [OUTBOX_MIGRATIONS])
        with telemetry.span("arrival", SpanKind.SERVER):
            async with pool.acquire() as connection:
                await add_events(connection, [OutboxEvent(event_id="1", subject=ARRIVED, tenant="acme", payload=b"")])
        stop, inside = asyncio.Event(), list[str]()

        async def handle(_: Sequence[Message]) -> None:
            inside.append(telemetry.outgoing())

        async with asyncio.TaskGroup() as group:
            group.create_task(OutboxRelay(pool, bus, STREAM, logs.get("probe")).run(stop))
            group.create_task(bus.consume(CONSUMER, handle, stop))
            await eventually(lambda: named(spans, "pilot process"), within_s=SOON)
            stop.set()
    [arrival], [process] = named(spans, "arrival"), named(spans, "pilot process")
    assert lineage(process, arrival)
    assert process.kind is SpanKind.CONSUMER
    assert process.context is not None
    assert inside[0].split("-")[1:3] == [f"{process.context.trace_id:032x}", f"{process.context.span_id:016x}"]


async def test_a_batch_of_many_is_linked_to_the_work_of_each(spans: InMemorySpanExporter, nats_url: str):
    async with open_bus(NatsSettings(url=Secret(nats_url)), "probe", Metrics()) as bus:
        await bus.ensure_stream(STREAM)
        for number in range(3):
            with telemetry.span(f"arrival {number}", SpanKind.SERVER):
                await bus.publish(ARRIVED, b"", message_id=str(number), tenant="acme")
        stop, seen = asyncio.Event(), set[str]()

        async def handle(messages: Sequence[Message]) -> None:
            seen.update(message.message_id for message in messages)
            if len(seen) == 3:
                stop.set()

        await bus.consume(CONSUMER, handle, stop)
    processes = named(spans, "pilot process")
    linked = {link.context.span_id for process in processes for link in process.links}
    arrivals = [named(spans, f"arrival {number}")[0].context for number in range(3)]
    assert linked == {arrival.span_id for arrival in arrivals if arrival is not None}


async def test_a_span_that_fails_says_why_in_a_word_and_no_more(spans: InMemorySpanExporter):
    async def ask(request: bytes, _: object) -> bytes:
        raise NotFound("the customer Ada Lovelace", reason="CUSTOMER_NOT_FOUND") if request else ValueError("Ada Lovelace")

    async with serving(ask=ask) as served, asking(served.address) as asker:
        for request in (b"", b"1"):
            with acting_for("acme"), pytest.raises(PlimsollError):
                await call(asker.ask, request, cap_s=SOON)
    failed = named(spans, ASK.lstrip("/"))
    assert [(span.status.status_code, span.status.description) for span in failed] == [
        (StatusCode.ERROR, "ValueError"),
        (StatusCode.ERROR, "CUSTOMER_NOT_FOUND"),
    ]
    assert not any("Lovelace" in span.to_json() for span in failed)


async def test_every_line_of_a_request_carries_its_trace_and_tenant(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "plimsoll")

    async def ask(request: bytes, _: object) -> bytes:
        logs.get("probe").info("inside")
        return request

    async with serving(ask=ask) as served, asking(served.address) as asker:
        with acting_for("acme"), telemetry.span("front door", SpanKind.SERVER) as trace_id:
            await call(asker.ask, b"", cap_s=SOON)
    told = {record.message: record.__dict__["fields"] for record in caplog.records}
    for event in ("inside", "rpc.answered"):
        assert (told[event]["trace_id"], told[event]["tenant"]) == (trace_id, "acme")


@pytest.mark.parametrize("traceparent", ["", "garbage", "00-00000000000000000000000000000000-0000000000000000-01", "ff-1-2-3"])
async def test_a_trace_header_that_is_none_begins_a_new_trace(spans: InMemorySpanExporter, traceparent: str):
    async with serving() as served, asking(served.address) as asker:
        await asker.ask(b"", metadata=(("plimsoll-tenant", "acme"), ("traceparent", traceparent)))
    [span] = named(spans, ASK.lstrip("/"))
    assert span.parent is None


def test_a_process_that_exports_nothing_carries_traces_on_all_the_same() -> None:
    tracer = telemetry._CarryingProvider().get_tracer("probe")
    first, other = tracer.start_span("first", context=Context()), tracer.start_span("other", context=Context())
    below = tracer.start_span("below", context=trace.set_span_in_context(first, Context()))
    one, two, three = (span.get_span_context() for span in (first, other, below))
    assert one.is_valid
    assert one.trace_id != two.trace_id
    assert (three.trace_id, three.span_id != one.span_id, below.is_recording()) == (one.trace_id, True, False)
