"""The mesh's memory as a tool, on behalf of the tenant that calls."""

from collections.abc import AsyncIterator

import pytest
from plimsoll.memory.v1 import document_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_runtime import logs
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import NotFound, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import Context, PeerCertificates, RpcServer, RpcService
from plimsoll_runtime.settings import ServerSettings, TlsSettings
from plimsoll_runtime.wire import json_to_proto
from plimsoll_tool_dispatcher.adapters.sources.knowledge import KnowledgeSearch
from plimsoll_tool_dispatcher.domain.defaults import with_defaults
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredKnowledge, parse_source


class ScriptedMemory(rpc.MemoryServiceServicer):
    """Answers with one passage that names who asked."""

    def __init__(self) -> None:
        self.asked: list[pb.SearchRequest] = []

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:  # noqa: N802 - the contract's name
        self.asked.append(request)
        if request.collection == "nowhere":
            raise NotFound("no such collection", reason="COLLECTION_NOT_FOUND")
        if request.collection == "away":
            raise Unavailable("memory cannot be reached", reason="UNREACHABLE")
        passage = document_pb2.Passage(
            text="a tent", source="a.md", title=current_caller().tenant, score=0.5, metadata=json_to_proto({"n": 1})
        )
        return pb.SearchResponse(passages=[passage])

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:  # noqa: N802
        return pb.ListCollectionsResponse(collections=[document_pb2.Collection(name="help")])


@pytest.fixture
async def memory() -> AsyncIterator[tuple[ScriptedMemory, KnowledgeSearch]]:
    scripted = ScriptedMemory()
    service = RpcService("plimsoll.memory.v1.MemoryService", lambda server: rpc.add_MemoryServiceServicer_to_server(scripted, server))
    settings = ServerSettings(tls=TlsSettings(), insecure=True)
    authenticate = PeerCertificates(frozenset(), insecure=True)
    server = RpcServer(settings, [service], authenticate, Metrics(), logs.get("memory"), listen="127.0.0.1:0")
    await server.start()
    async with KnowledgeSearch(declared(), f"127.0.0.1:{server.port}", TlsSettings()) as search:
        yield scripted, search
    await server.stop(0.0)


def declared() -> DeclaredKnowledge:
    source, problems = parse_source("source: knowledge\nkind: knowledge\ntools: all", stem="knowledge")
    assert isinstance(source, DeclaredKnowledge), problems
    return source


async def searched(search: KnowledgeSearch, arguments: JsonObject, tenant: str = "acme") -> Attempt:
    found, _ = await search.listing()
    [tool], _ = tools_of(declared().settings, "host", found)
    effective = with_defaults(arguments, tool.arguments.document)
    assert tool.arguments.problems(effective, "arguments") == ()
    attempt = await search.execute(tool, Invocation(tenant=tenant, call_key="k", arguments=effective, timeout_s=5.0, run_id="run_1"))
    assert not isinstance(attempt, Answered) or tool.result.problems(attempt.result, "result") == ()
    return attempt


@pytest.mark.parametrize("tenant", ["acme", "umbrella"])
async def test_a_search_is_the_callers_own(memory: tuple[ScriptedMemory, KnowledgeSearch], tenant: str) -> None:
    scripted, search = memory
    attempt = await searched(search, {"query": "tents", "collection": "help", "filter": {"kind": "faq"}}, tenant)
    assert isinstance(attempt, Answered)
    passage = {"text": "a tent", "source": "a.md", "title": tenant, "document_id": "", "score": 0.5, "metadata": {"n": 1}}
    assert attempt.result == {"passages": [passage], "collections": ["help"]}
    assert (scripted.asked[0].limit, scripted.asked[0].filter.text, scripted.asked[0].work.run_id) == (5, '{"kind":"faq"}', "run_1")


async def test_without_a_collection_those_that_there_are_are_told(memory: tuple[ScriptedMemory, KnowledgeSearch]) -> None:
    assert await searched(memory[1], {"query": "tents"}) == Answered(result={"passages": [], "collections": ["help"]})


async def test_a_collection_that_is_not_there_is_told(memory: tuple[ScriptedMemory, KnowledgeSearch]) -> None:
    attempt = await searched(memory[1], {"query": "tents", "collection": "nowhere"})
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.failure.reason) == (Category.UPSTREAM_REJECTED, "COLLECTION_NOT_FOUND")


async def test_a_memory_that_is_away_is_a_failure_that_passes(memory: tuple[ScriptedMemory, KnowledgeSearch]) -> None:
    attempt = await searched(memory[1], {"query": "tents", "collection": "away"})
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.UPSTREAM_UNAVAILABLE, Mishap.LOST), "a read is made again"
    assert isinstance(await searched(memory[1], {"query": "tents", "collection": "help"}), Answered)


async def test_where_there_is_no_memory_there_is_no_search() -> None:
    async with KnowledgeSearch(declared(), "", TlsSettings()) as search:
        with pytest.raises(PlimsollError, match="no address of a memory"):
            await search.listing()
