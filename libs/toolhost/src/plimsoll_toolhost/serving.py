"""A process that serves tools: settings from the environment, mutual TLS, health, metrics and an ordered end."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer
from plimsoll_runtime.settings import ServerSettings, nested, setting

from plimsoll_toolhost.host import ToolHost, tool_host_rpcs
from plimsoll_toolhost.tool import HostedTool

_CALLERS = frozenset({"tool-dispatcher"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Read from `PLIMSOLL_<NAME>_…` variables."""

    server: ServerSettings = nested(ServerSettings, "")
    calls_at_once: int = setting(64, doc="calls that run at a time; more are refused for now")
    result_kib: int = setting(8192, doc="largest result of a call in KiB")


def run_tool_host(name: str, tools: Sequence[HostedTool], argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop. `name` is that of the certificate, and of the variables: `billing-tools` reads PLIMSOLL_BILLING_TOOLS_…"""

    async def build(settings: HostSettings, stack: AsyncExitStack) -> App:
        log, metrics = logs.get(name), Metrics()
        host = ToolHost(tools, log, calls_at_once=settings.calls_at_once, result_bytes=settings.result_kib * 1024)
        authenticate = PeerCertificates(_CALLERS, insecure=settings.server.insecure)
        server = RpcServer(settings.server, [tool_host_rpcs(host)], authenticate, metrics, log)
        return App(name=name, metrics=metrics, pings={}, servers=[server], loops={})

    run_service(name, HostSettings, build, argv)
