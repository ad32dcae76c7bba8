"""An MCP server as a source of tools: listed, watched for change, and called."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self, TypeAlias, cast

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
    RequestParamsMeta,
)
from mcp_types import Tool as ServedTool
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.egress import EgressGuard
from plimsoll_runtime.errors import FieldProblem, Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.logs import Log
from pydantic import TypeAdapter, ValidationError

from plimsoll_tool_dispatcher.adapters.sources.mcp.connection import Connections, Live, NotConnected
from plimsoll_tool_dispatcher.adapters.sources.mcp.exchange import Exchange, exchange
from plimsoll_tool_dispatcher.adapters.sources.mcp.http import GuardedTransport
from plimsoll_tool_dispatcher.adapters.sources.mcp.process import ServerProcess, process_transport
from plimsoll_tool_dispatcher.adapters.sources.mcp.reading import after_call_error, answer_of, mirrored_arguments, read_tool
from plimsoll_tool_dispatcher.adapters.sources.outcomes import after_error, changed, gone, stopped
from plimsoll_tool_dispatcher.adapters.sources.runtime import Listing, Secrets
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool
from plimsoll_tool_dispatcher.domain.source_declaration import CredentialUse, DeclaredMcpProcess, DeclaredMcpServer
from plimsoll_tool_dispatcher.domain.sources import McpSource
from plimsoll_tool_dispatcher.domain.tool import Tool

_CONNECT_S = 20.0
_HANDSHAKE_S = 6.0  # of each step: a server that does not know the present revision may be silent about it
_PAGE_S = 15.0
_MAX_PAGES = 20
_MAX_LISTED = 1000
_CALL_KEY = "io.plimsoll/call-key"

_Result: TypeAlias = CallToolResult | InputRequiredResult
_RESULT: TypeAdapter[_Result] = TypeAdapter(_Result)


class McpServer:
    """One server, by HTTP or as a process."""

    def __init__(
        self,
        declared: DeclaredMcpServer | DeclaredMcpProcess,
        secrets: Secrets,
        environment: Mapping[str, str],
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = declared.settings
        self._secrets = secrets
        self._shown: Mapping[str, str] = {}
        self._clock = clock
        self._by_http = isinstance(declared, DeclaredMcpServer)
        _silence_the_library()
        if isinstance(declared, DeclaredMcpServer):
            opening: Callable[[], AbstractAsyncContextManager[Client]] = lambda: self._over_http(declared)  # noqa: E731
            hint = ""
        else:
            opening = lambda: self._as_process(declared, environment, log)  # noqa: E731
            hint = "; what the process says is in the log, as tool.output"
        self._connections = Connections(self._settings.name, opening, _CONNECT_S, log, hint=hint)
        self._tools: Mapping[str, RemoteTool] | None = None
        self._structured: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._connections.__aexit__(kind, error, trace)

    async def listing(self) -> Listing:
        """Raises PlimsollError when the server cannot be asked."""
        live = await self._connections.live()
        if self._shown != self._secrets():  # a credential was renewed: what stands was opened with the old one
            live.retire()
            live = await self._connections.live()
        with live:
            served = await self._served(live)
        problems: list[FieldProblem] = []
        tools: dict[str, RemoteTool] = {}
        for one in served:
            tool, wrong = read_tool(self._settings.name, one)
            problems += wrong
            if tool is not None:
                tools.setdefault(one.name, tool)
        self._tools = tools
        self._structured = frozenset(one.name for one in served if one.output_schema is not None)
        return tuple(tools.values()), tuple(problems)

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        assert isinstance(tool.source, McpSource)
        try:
            async with asyncio.timeout(invocation.timeout_s) as limit:
                if self._tools is None:
                    await self.listing()
                assert self._tools is not None
                known = self._tools.get(tool.source.tool)
                if known is None:
                    return gone(tool, f"the tool {tool.source.tool}")
                if tool.source.shape not in {"", known.source.shape}:
                    return changed(tool)
                live = await self._connections.live()
                left_s = max(0.001, (limit.when() or 0) - asyncio.get_running_loop().time())
        except NotConnected as error:
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message, Mishap.REFUSED)
        except Unavailable as error:
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message, Mishap.REFUSED)
        except TimeoutError:
            return stopped(tool, Category.TIMEOUT, "NOT_CONNECTED", "no connection to the server stood in time", Mishap.REFUSED)
        with live, exchange(left_s) as noted:
            noted.sent = not self._by_http
            return await self._call(live, tool, tool.source, invocation, noted, left_s)

    async def _call(self, live: Live, tool: Tool, source: McpSource, invocation: Invocation, noted: Exchange, left_s: float) -> Attempt:
        meta = {_CALL_KEY: invocation.call_key}
        params = CallToolRequestParams(name=source.tool, arguments=invocation.arguments, _meta=cast("RequestParamsMeta", meta))
        try:
            async with asyncio.timeout(left_s):
                request = CallToolRequest(params=params)
                result = await live.session.send_request(request, _RESULT, request_read_timeout_seconds=left_s + 1)
        except TimeoutError:
            if not live.modern:
                live.retire()  # a request of the legacy revision lives on in it
            mishap = Mishap.LOST if noted.sent else Mishap.REFUSED
            return stopped(tool, Category.TIMEOUT, "TOOL_TIMEOUT", f"the tool did not answer within {invocation.timeout_s:.3g} s", mishap)
        except MCPError as error:
            attempt = after_call_error(tool, error, noted, self._shown, self._clock.now())
            if attempt.failure.reason in {"SESSION_GONE", "NOT_CONNECTED"}:
                live.retire()
            return attempt
        except (ValidationError, ValueError, RuntimeError):
            if noted.fault is not None:
                return after_error(tool, noted.fault)
            return stopped(tool, Category.MALFORMED_RESULT, "ANSWER_UNFIT", "the answer is no result of the protocol")
        if isinstance(result, InputRequiredResult):
            return stopped(tool, Category.UPSTREAM_REJECTED, "INPUT_REQUIRED", "the tool asks for more input, which nobody here can give")
        return answer_of(tool, result, source.tool in self._structured, self._shown)

    async def _served(self, live: Live) -> list[ServedTool]:
        served: list[ServedTool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._page(live, cursor)
            served += page.tools
            if page.next_cursor is None or page.next_cursor == cursor or len(served) >= _MAX_LISTED:
                break
            cursor = page.next_cursor
        return served[:_MAX_LISTED]

    async def _page(self, live: Live, cursor: str | None) -> ListToolsResult:
        params = PaginatedRequestParams(cursor=cursor)
        try:
            async with asyncio.timeout(_PAGE_S):
                with exchange(_PAGE_S):
                    page = await live.session.send_request(ListToolsRequest(params=params), ListToolsResult)
                    if mirrored_arguments(page.tools):
                        await live.session.list_tools(params=params)  # the session has to know which arguments travel as headers too
                    return page
        except (MCPError, ValidationError, ValueError, RuntimeError, TimeoutError) as error:
            live.retire()
            raise Unavailable(f"the server does not list its tools: {type(error).__name__}", reason="NOT_LISTED") from error

    @asynccontextmanager
    async def _over_http(self, declared: DeclaredMcpServer) -> AsyncIterator[Client]:
        settings = declared.settings
        self._shown = self._secrets()
        headers = {"user-agent": "plimsoll", "accept-encoding": "identity"} | _carried(settings.credentials, self._shown)
        timeout = httpx2.Timeout(30.0, read=None)  # what a read may take is each exchange's own
        transport = GuardedTransport(EgressGuard(settings.rules), settings.answer_bytes)
        async with httpx2.AsyncClient(transport=transport, headers=headers, timeout=timeout, trust_env=False) as http:
            stream = streamable_http_client(declared.url, http_client=http, max_sse_event_size=settings.answer_bytes)
            async with self._client(stream) as client:
                yield client

    @asynccontextmanager
    async def _as_process(self, declared: DeclaredMcpProcess, environment: Mapping[str, str], log: Log) -> AsyncIterator[Client]:
        settings = declared.settings
        self._shown = self._secrets()
        process = ServerProcess(
            name=settings.name,
            command=declared.command,
            variables=dict(declared.environment) | _carried(settings.credentials, self._shown),
            credentials=self._shown,
            given=environment,
            line_bytes=settings.answer_bytes,
            memory_bytes=declared.memory_mib * 1024 * 1024,
            cpu_s=declared.cpu_s,
        )
        async with self._client(process_transport(process, self._connections.lost, log)) as client:
            yield client

    @asynccontextmanager
    async def _client(self, transport: object) -> AsyncIterator[Client]:
        client = Client(
            transport,  # type: ignore[arg-type]  # a generator's context manager is a Transport, which the library's Protocol does not see
            read_timeout_seconds=_HANDSHAKE_S,
            client_info=Implementation(name="plimsoll", version="1"),
            cache=None,
        )
        async with AsyncExitStack() as stack:
            with exchange(_CONNECT_S):
                await stack.enter_async_context(client)
            yield client


def _carried(uses: tuple[CredentialUse, ...], secrets: Mapping[str, str]) -> dict[str, str]:
    return {use.target: use.form.replace("{}", secrets[use.name]) for use in uses if use.name in secrets}


def _silence_the_library() -> None:
    """Its log lines quote what servers say."""
    for name in ("mcp", "client", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
