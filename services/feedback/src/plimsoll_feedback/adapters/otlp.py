"""Spans over OTLP/HTTP with protobuf, the one form that every receiver takes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from plimsoll_runtime.egress import EgressGuard, EgressRules
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.outbound_http import HttpLimits, HttpRequest, OutboundHttp

from plimsoll_feedback.domain.spans import AttributeValue, Span
from plimsoll_feedback.errors import SpansRefused

_LIMITS: Final = HttpLimits(connect_s=5.0, total_s=30.0, answer_bytes=4 * 1024 * 1024, redirects=0)
_UNFIT: Final = frozenset({400, 413, 422})  # what this batch can be blamed for; everything else may be mended elsewhere
_KINDS: Final = {"client": trace_pb2.Span.SPAN_KIND_CLIENT, "internal": trace_pb2.Span.SPAN_KIND_INTERNAL}


class OtlpCollector:
    """The Collector."""

    def __init__(self, http: OutboundHttp, url: str, headers: Mapping[str, str]) -> None:
        self._http = http
        self._url = url
        self._headers = headers

    @classmethod
    @asynccontextmanager
    async def opened(cls, rules: EgressRules, url: str, headers: Mapping[str, str]) -> AsyncIterator[Self]:
        """Sends inside the block."""
        async with OutboundHttp(EgressGuard(rules), _LIMITS) as http:
            yield cls(http, url, headers)

    async def send(self, spans: Sequence[Span]) -> int:
        """How many were refused for good. Raises SpansRefused for a batch that is not taken as it is, else what a later try may mend."""
        headers = {**self._headers, "content-type": "application/x-protobuf"}
        body = request_of(spans).SerializeToString()
        answer = await self._http.send(HttpRequest(method="POST", url=self._url, headers=headers, body=body))
        if answer.status in _UNFIT:
            raise SpansRefused(f"the collector answered {answer.status}")
        if not 200 <= answer.status < 300:
            raise Unavailable(f"the collector answered {answer.status}", reason="COLLECTOR_UNAVAILABLE")
        try:
            return min(len(spans), trace_service_pb2.ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans)
        except DecodeError:
            return 0  # some answer with text; the status says that it was taken


def request_of(spans: Sequence[Span]) -> trace_service_pb2.ExportTraceServiceRequest:
    resource = resource_pb2.Resource(attributes=[_attribute("service.name", "plimsoll")])
    scope = trace_pb2.ScopeSpans(scope=common_pb2.InstrumentationScope(name="plimsoll.feedback"), spans=[_span(span) for span in spans])
    return trace_service_pb2.ExportTraceServiceRequest(resource_spans=[trace_pb2.ResourceSpans(resource=resource, scope_spans=[scope])])


def _span(span: Span) -> trace_pb2.Span:
    message = trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=max(0, span.start_ns),
        end_time_unix_nano=max(0, span.end_ns),
        attributes=[_attribute(name, value) for name, value in sorted(span.attributes.items())],
    )
    if span.error_type:
        message.status.CopyFrom(trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=span.error))
        told = [_attribute("exception.type", span.error_type), _attribute("exception.message", span.error)]
        message.events.append(trace_pb2.Span.Event(time_unix_nano=max(0, span.end_ns), name="exception", attributes=told))
    if span.linked is not None:
        message.links.append(trace_pb2.Span.Link(trace_id=bytes.fromhex(span.linked[0]), span_id=bytes.fromhex(span.linked[1])))
    return message


def _attribute(name: str, value: AttributeValue) -> common_pb2.KeyValue:
    return common_pb2.KeyValue(key=name, value=_value(value))


def _value(value: AttributeValue) -> common_pb2.AnyValue:
    match value:
        case bool():
            return common_pb2.AnyValue(bool_value=value)
        case int() if abs(value) < 2**63:
            return common_pb2.AnyValue(int_value=value)
        case int() | float():
            return common_pb2.AnyValue(double_value=float(value))
        case str():
            return common_pb2.AnyValue(string_value=value)
        case _:
            return common_pb2.AnyValue(array_value=common_pb2.ArrayValue(values=[_value(one) for one in value]))
