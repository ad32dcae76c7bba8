"""An OTLP/HTTP receiver on loopback: keeps the spans it is sent, and refuses or fails when it is told to."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

AttributeValue: TypeAlias = str | bool | int | float | list[str]

_PATH = "/v1/traces"


@dataclass
class OtlpReceiver:
    """Attributes:
    spans     all that were taken, in order; one that is sent twice is here twice
    headers   of the last request
    status    what it answers, when not 200
    unfit     spans for which the whole request is answered with 400
    """

    url: str = ""
    spans: list[trace_pb2.Span] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    status: int = 200
    unfit: Callable[[trace_pb2.Span], bool] | None = None

    def attributes(self, name: str) -> dict[str, AttributeValue]:
        """Of the one span with this name."""
        [span] = [span for span in self.spans if span.name == name]
        return {pair.key: _plain(pair.value) for pair in span.attributes}

    async def take(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        message = trace_service_pb2.ExportTraceServiceRequest.FromString(await request.read())
        spans = [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]
        if self.status != 200:
            return web.Response(status=self.status)
        if self.unfit is not None and any(map(self.unfit, spans)):
            return web.Response(status=400)
        self.spans += spans
        answer = trace_service_pb2.ExportTraceServiceResponse()
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")


@asynccontextmanager
async def otlp_receiver(port: int = 0) -> AsyncIterator[OtlpReceiver]:
    """Listens inside the block."""
    receiver = OtlpReceiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post(_PATH, receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    addresses: Sequence[tuple[str, int]] = runner.addresses
    receiver.url = f"http://127.0.0.1:{addresses[0][1]}{_PATH}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def _plain(value: common_pb2.AnyValue) -> AttributeValue:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case _:
            return [one.string_value for one in value.array_value.values]
