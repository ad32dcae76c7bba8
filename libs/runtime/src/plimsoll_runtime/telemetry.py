"""Traces: OpenTelemetry, exported over OTLP where an endpoint is configured, carried along in every case."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from plimsoll_runtime.names import TRACE_KEY


def configure(service: str, otlp_endpoint: str) -> None:
    """Set up tracing for the process; called once, in main. Without an endpoint spans only carry their ids."""
    if not otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - 20 MiB that an idle service need not hold

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https")))
    )
    trace.set_tracer_provider(provider)


def outgoing() -> str:
    """The traceparent of the present span; empty when there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get(TRACE_KEY, "")


@contextmanager
def span(
    name: str, kind: SpanKind, traceparent: str = "", attributes: Mapping[str, str | int | float | bool] | None = None
) -> Iterator[str]:
    """Run the block in a span below `traceparent`; yields the trace id in hex, empty when nothing records."""
    parent = propagate.extract({TRACE_KEY: traceparent}) if traceparent else None
    with trace.get_tracer("plimsoll").start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes or {})) as current:
        context = current.get_span_context()
        yield f"{context.trace_id:032x}" if context.is_valid else ""
