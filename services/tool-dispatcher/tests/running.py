"""The whole service in this process, on real servers, and its tools in a directory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from google.protobuf.message import Message
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as rpc
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.lifecycle import App, serve
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.config import Settings
from plimsoll_tool_dispatcher.main import build

Stub: TypeAlias = "rpc.ToolDispatcherServiceAsyncStub"

NOTE = """
import asyncio
from pathlib import Path
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable

def noted(arguments, word):
    with Path(arguments["note"]).open("a") as note:
        note.write(word + "\\n")

async def _act(arguments, context):
    noted(arguments, "acted " + context.call_key)
    if (Path(arguments["note"]).parent / "hold").exists():
        await asyncio.sleep(60)
    return {"acted": context.call_key}

"""
EFFECTS = ("read_only", "idempotent", "keyed", "non_idempotent")


def write_tools(directory: Path) -> None:
    """One tool per effect class, `act_<class>`, that notes each execution in a file and then waits while a file `hold` is there."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["category: acts", "tools:"]
    for name, effect, risk in [*((f"act_{effect}", effect, "low") for effect in EFFECTS), ("act_risky", "keyed", "high")]:
        lines += [
            f"  - name: {name}",
            '    version: "1"',
            "    description: Acts and notes it",
            "    arguments: {type: object, required: [note], properties: {note: {type: string}, times: {type: integer, default: 1}}}",
            "    result: {type: object, required: [acted]}",
            f"    effect: {effect}",
            f"    risk: {risk}",
            "    timeout: 30s",
        ]
    functions = [f"async def {name}(a, c): return await _act(a, c)" for name in (*(f"act_{effect}" for effect in EFFECTS), "act_risky")]
    (directory / "acts.yaml").write_text("\n".join(lines))
    (directory / "acts.py").write_text(NOTE + "\n".join(functions))


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Speaks to one replica on behalf of a tenant."""

    stub: Stub
    app: App | None = None

    async def dispatch(
        self,
        tool: str,
        arguments: Mapping[str, JsonValue] | str,
        *,
        key: str = "key_1",
        epoch: int = 1,
        run_id: str = "run_1",
        tenant: str = "acme",
        grants: tuple[tool_pb2.Grant, ...] = (),
        cap_s: float = 60.0,
    ) -> pb.DispatchResponse:
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        request = pb.DispatchRequest(
            call_key=key,
            tool=tool,
            arguments=json_pb2.JsonValue(text=text),
            work=work_pb2.WorkContext(run_id=run_id, step=3, node="act", agent="support", agent_version="v1", epoch=epoch),
            grants=grants,
        )
        with acting_for(tenant):
            response: pb.DispatchResponse = await call(self.stub.Dispatch, request, cap_s=cap_s)
        return response

    async def ask(self, method: str, request: Message, *, tenant: str = "acme", principal: str = "ada") -> Any:
        """Any other method, on behalf of a person."""
        with acting_for(tenant, principal):
            return await call(getattr(self.stub, method), request, cap_s=60)


@asynccontextmanager
async def running(settings: Settings, client: TlsSettings | None = None) -> AsyncIterator[Client]:
    """Build, serve and drain; the stub shows the certificate of `client`."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=settings.server.drain_s))
            try:
                [server] = app.servers
                assert isinstance(server, RpcServer)
                port = await eventually(lambda: server.port)
                yield Client(stub=await connect(stack, f"127.0.0.1:{port}", client), app=app)
            finally:
                stop.set()


async def connect(stack: AsyncExitStack, address: str, client: TlsSettings | None = None) -> Stub:
    channel = await stack.enter_async_context(open_channel(address, client or TlsSettings(), "tool-dispatcher"))
    return rpc.ToolDispatcherServiceStub(channel)
