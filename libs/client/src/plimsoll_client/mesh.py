"""One open connection to a mesh, and its resources by noun."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import grpc
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc

from plimsoll_client.calls import Calls
from plimsoll_client.errors import BadAddress
from plimsoll_client.location import CA_VARIABLE, Endpoint
from plimsoll_client.resources.approvals import Approvals
from plimsoll_client.resources.audit import Audit
from plimsoll_client.resources.catalog import Agents, Models, Prompts, Tools
from plimsoll_client.resources.feedback import Feedback
from plimsoll_client.resources.keys import Keys
from plimsoll_client.resources.labels import Labels
from plimsoll_client.resources.learning import Datasets, Evaluations, Improvements
from plimsoll_client.resources.memory import Memory
from plimsoll_client.resources.monitors import Alerts, Monitors
from plimsoll_client.resources.runs import Runs
from plimsoll_client.resources.schedules import Schedules
from plimsoll_client.resources.threads import Threads
from plimsoll_client.resources.traces import Traces
from plimsoll_client.resources.webhooks import Webhooks

_ANSWER_CAP = 64 * 1024 * 1024


class Mesh:
    """A mesh as its clients see it. Safe to use from many tasks at once."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self.agents = Agents(stub, calls)
        self.runs = Runs(stub, calls)
        self.threads = Threads(stub, calls)
        self.approvals = Approvals(stub, calls)
        self.schedules = Schedules(stub, calls)
        self.webhooks = Webhooks(stub, calls)
        self.tools = Tools(stub, calls)
        self.prompts = Prompts(stub, calls)
        self.models = Models(stub, calls)
        self.labels = Labels(stub, calls)
        self.memory = Memory(stub, calls)
        self.feedback = Feedback(stub, calls)
        self.traces = Traces(stub, calls)
        self.monitors = Monitors(stub, calls)
        self.alerts = Alerts(stub, calls)
        self.datasets = Datasets(stub, calls)
        self.evaluations = Evaluations(stub, calls)
        self.improvements = Improvements(stub, calls)
        self.keys = Keys(stub, calls)
        self.audit = Audit(stub, calls)


@asynccontextmanager
async def open_mesh(endpoint: Endpoint) -> AsyncIterator[Mesh]:
    """Connects when first used; closes when left."""
    options = [
        ("grpc.primary_user_agent", f"plimsoll-python/{version('plimsoll-client')}"),
        ("grpc.max_receive_message_length", _ANSWER_CAP),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name, what a connection may take: a far mesh needs several round trips
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.enable_retries", 0),  # Calls repeats what is safe; the transport must not repeat the rest
    ]
    if endpoint.tls:
        credentials = grpc.ssl_channel_credentials(None if endpoint.ca is None else _authority(endpoint.ca))
        channel = grpc.aio.secure_channel(endpoint.target, credentials, options=options)
    else:
        channel = grpc.aio.insecure_channel(endpoint.target, options=[*options, ("grpc.enable_http_proxy", 0)])
    async with channel:
        yield Mesh(rpc.GatewayServiceStub(channel), Calls(endpoint.target, endpoint.api_key))


def _authority(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadAddress(f"{file} cannot be read: {error.strerror}", remedy=f"Set {CA_VARIABLE} to the authority's PEM file") from error
