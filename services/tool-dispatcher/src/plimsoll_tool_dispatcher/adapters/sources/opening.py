"""Which runtime a declared source gets."""

from collections.abc import Mapping
from pathlib import Path

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.logs import Log
from plimsoll_runtime.settings import TlsSettings

from plimsoll_tool_dispatcher.adapters.sources.http_api import HttpApi
from plimsoll_tool_dispatcher.adapters.sources.knowledge import KnowledgeSearch
from plimsoll_tool_dispatcher.adapters.sources.runtime import Secrets, SourceRuntime
from plimsoll_tool_dispatcher.adapters.sources.tool_host import ToolHostClient
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredApi, DeclaredHost, DeclaredKnowledge, DeclaredSource


class SourceOpener:
    """`environment` is that of the dispatcher, `tls` its own certificate; `memory_address` is empty where there is no memory."""

    def __init__(self, environment: Mapping[str, str], tls: TlsSettings, clock: Clock, log: Log, *, memory_address: str = "") -> None:
        self._environment = environment
        self._tls = tls
        self._memory_address = memory_address
        self._clock = clock
        self._log = log

    def __call__(self, declared: DeclaredSource, path: Path, secrets: Secrets) -> SourceRuntime:
        match declared:
            case DeclaredApi():
                return HttpApi(declared, path.parent, self._clock)
            case DeclaredHost():
                return ToolHostClient(declared, self._tls)
            case DeclaredKnowledge():
                return KnowledgeSearch(declared, self._memory_address, self._tls)
        from plimsoll_tool_dispatcher.adapters.sources.mcp.server import McpServer  # noqa: PLC0415 - 25 MiB, for those who have one

        return McpServer(declared, secrets, self._environment, self._clock, self._log)
