"""Embedding through the model-router, over gRPC: what is believed of its answers, and what a search does without them."""

from collections.abc import AsyncIterator

import grpc
import pytest
from memory_fakes import Desk
from memory_samples import ACME, incoming
from plimsoll.common.v1 import failure_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_memory.adapters.router_embedder import EmbedderAway, RouterEmbedder
from plimsoll_memory.adapters.vectors import EmbedderDiffers
from plimsoll_memory.domain.search import SearchRequest
from plimsoll_memory.service.memory import Defaults, Memory
from plimsoll_memory.service.searching import Searching
from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import Context
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

NAME = "router:letters-3"


class Letters(rpc.ModelRouterServiceServicer):
    """Counts letters; answers with a failure, or with other dimensions, when told to."""

    def __init__(self) -> None:
        self.letters = "abc"
        self.fails = False
        self.models: list[str] = []

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802 - the contract's own name
        self.models.append(request.model)
        if self.fails:
            failure = failure_pb2.Failure(category=failure_pb2.FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE, reason="PROVIDER_AWAY")
            return pb.EmbedResponse(failure=pb.GenerationFailure(failure=failure))
        vectors = [pb.Embedding(values=[text.count(letter) for letter in self.letters]) for text in request.texts]
        return pb.EmbedResponse(embeddings=pb.Embeddings(vectors=vectors, model=request.model))


@pytest.fixture
async def router() -> AsyncIterator[tuple[Letters, str]]:
    server, letters = grpc.aio.server(), Letters()
    rpc.add_ModelRouterServiceServicer_to_server(letters, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield letters, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def embedder(router: tuple[Letters, str]) -> AsyncIterator[RouterEmbedder]:
    async with open_channel(router[1], TlsSettings(), "model-router") as channel:
        with acting_for(ACME):
            yield RouterEmbedder(NAME, channel)


async def test_the_model_is_asked_by_its_name_and_its_vectors_have_length_one(
    router: tuple[Letters, str], embedder: RouterEmbedder
) -> None:
    first, second = await embedder.embed_passages(["aaab", "c"])
    assert list(second) == [0, 0, 1]
    assert sum(value * value for value in first) == pytest.approx(1)
    assert router[0].models == ["letters-3"]


async def test_other_dimensions_are_refused_and_never_mixed(router: tuple[Letters, str], embedder: RouterEmbedder) -> None:
    await embedder.embed_query("a")
    router[0].letters = "abcd"
    with pytest.raises(EmbedderDiffers, match="4 dimensions after 3"):
        await embedder.embed_query("a")


async def test_a_search_goes_on_without_an_embedder_that_is_down(
    router: tuple[Letters, str], embedder: RouterEmbedder, clock: FakeClock, ids: FakeIds
) -> None:
    desk = Desk(clock=clock, ids=ids)
    plain = desk.memory()
    memory = Memory(
        library=plain.library, reader=plain.reader, embedders={NAME: embedder}, rerankers={}, clock=clock, ids=ids,
        defaults=Defaults(embedder=NAME, language="english", recipe="1"),
    )  # fmt: skip
    searching = Searching(
        library=desk.library, index=desk.library, embedders={NAME: embedder}, rerankers={}, search_log=desk.search_log, rerank_cap_s=1.0,
        clock=clock, ids=ids, log=logs.get("memory"),
    )  # fmt: skip
    request = SearchRequest(collection="help", query="refund card", limit=3, filter={})
    await memory.ingest(ACME, incoming())
    assert (await searching.search(ACME, request)).receipt.embedder == NAME
    router[0].fails = True
    answer = await searching.search(ACME, request)
    assert answer.passages
    assert answer.receipt.skipped == ("vector: the embedder failed with EMBEDDER_AWAY",)
    with pytest.raises(EmbedderAway):
        await memory.ingest(ACME, incoming(source="other.md"))
    assert await desk.library.find_document(ACME, "help", "other.md") is None
