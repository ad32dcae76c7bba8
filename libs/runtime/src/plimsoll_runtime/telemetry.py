"""Traces: OpenTelemetry, exported over OTLP where an endpoint is configured, carried along in every case."""

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from plimsoll_runtime.errors import PlimsollError, unwrap
from plimsoll_runtime.names import TRACE_KEY

_TRACER = trace.get_tracer("plimsoll")  # a proxy: it follows the provider that `configure` sets
_W3C = TraceContextTextMapPropagator()


def configure(service: str, otlp_endpoint: str) -> None:
    """Set up tracing for the process; called once, in main. Without an endpoint spans only carry their ids, for the logs."""
    if not otlp_endpoint:
        trace.set_tracer_provider(_CarryingProvider())
        return
    # 20 MiB that an idle service need not hold
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https")))
    )
    trace.set_tracer_provider(provider)


def outgoing() -> str:
    """The traceparent of the present span; empty when there is none."""
    present = trace.get_current_span().get_span_context()
    if not present.is_valid:
        return ""
    return f"00-{present.trace_id:032x}-{present.span_id:016x}-{present.trace_flags:02x}"


def span(
    name: str,
    kind: SpanKind,
    traceparent: str = "",
    attributes: Mapping[str, str | int | float | bool] | None = None,
    *,
    linked: Sequence[str] = (),
) -> AbstractContextManager[str]:
    """Run the block in a span below `traceparent`; gives the trace id in hex, empty when there is none.

    `linked` are the traceparents of other work that this one serves. A span that fails says with which reason; the text of an
    error may hold what must not leave the service, so it stays out.
    """
    if not traceparent and not linked:
        above = trace.get_current_span()
        context = above.get_span_context()
        if context.is_valid and not above.is_recording() and not context.trace_flags.sampled:  # nor would one below it
            return nullcontext(f"{context.trace_id:032x}")
    current = _TRACER.start_span(
        name,
        context=_parent(traceparent) if traceparent else None,
        kind=kind,
        attributes=attributes,
        links=[Link(trace.get_current_span(_parent(other)).get_span_context()) for other in linked if other],
    )
    return _Block(current)


class _Block:
    """Where a span is the present one. A class, since a generator would cost every call more than the span does."""

    __slots__ = ("_span", "_token")

    def __init__(self, current: Span) -> None:
        self._span = current

    def __enter__(self) -> str:
        self._token = attach(trace.set_span_in_context(self._span))
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception):
            leaf = unwrap(error)
            self._span.set_status(Status(StatusCode.ERROR, leaf.reason if isinstance(leaf, PlimsollError) else type(leaf).__name__))
        detach(self._token)
        self._span.end()


def _parent(traceparent: str) -> Context:
    return _W3C.extract({TRACE_KEY: traceparent}, context=Context())


class _CarryingProvider(trace.NoOpTracerProvider):  # type: ignore[misc] # the library is untyped
    """Of tracers for a process that exports nothing. The SDK's own would ask samplers and make ready to record, at every call, for nobody."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> trace.Tracer:
        return _CarryingTracer()


class _CarryingTracer(trace.NoOpTracer):  # type: ignore[misc] # the library is untyped
    """Makes spans that only carry their ids: for the logs, and for those who are called next."""

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        above = trace.get_current_span(context).get_span_context()
        trace_id = above.trace_id if above.is_valid else random.getrandbits(128)
        return NonRecordingSpan(SpanContext(trace_id, random.getrandbits(64), is_remote=False))
