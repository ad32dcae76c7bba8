"""The RPCs, without a network."""

from collections.abc import Iterator, Sequence
from typing import cast

import pytest
from memory_fakes import Desk
from memory_samples import ACME, HANDBOOK
from plimsoll.common.v1 import failure_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_memory.domain.search import Candidates, Question
from plimsoll_memory.transport.grpc import MemoryHandler
from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Internal, NotFound, PlimsollError, Unavailable
from plimsoll_runtime.rpc_server import Context
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

CONTEXT = cast("Context", None)  # the handler never looks at it
SEARCH = pb.SearchRequest(collection="help", query="refund", limit=3)


class BrokenIndex:
    """A PassageIndex that fails."""

    def __init__(self, error: PlimsollError) -> None:
        self._error = error

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        raise self._error

    async def unknown_fields(self, tenant: str, collection: str, fields: Sequence[str]) -> Sequence[str]:
        raise self._error


@pytest.fixture
def desk(clock: FakeClock, ids: FakeIds) -> Desk:
    return Desk(clock=clock, ids=ids)


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with acting_for(ACME, "ada", service="gateway"):
        yield


async def handler(desk: Desk, error: PlimsollError | None = None) -> MemoryHandler:
    """Serves one document; its index is broken when there is an error."""
    sound = MemoryHandler(desk.verbs(), 1000, logs.get("memory"))
    await sound.IngestDocument(
        pb.IngestDocumentRequest(collection="help", source="billing.md", media_type="text/markdown", content=HANDBOOK.encode()), CONTEXT
    )
    return MemoryHandler(desk.verbs(index=BrokenIndex(error)), 1000, logs.get("memory")) if error else sound


async def test_a_search_that_may_succeed_later_is_a_failure_to_route_on(desk: Desk) -> None:
    broken = await handler(desk, Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE", retry_after_s=1.0))
    answer = await broken.Search(SEARCH, CONTEXT)
    assert answer.failure.category == failure_pb2.FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE
    assert (answer.failure.reason, answer.failure.retryable, answer.failure.where) == ("DATABASE_UNAVAILABLE", True, "help")
    assert not answer.HasField("receipt")


async def test_a_fault_of_ours_is_an_error(desk: Desk) -> None:
    broken = await handler(desk, Internal("bug"))
    with pytest.raises(Internal):
        await broken.Search(SEARCH, CONTEXT)


async def test_every_verb_works_for_the_tenant_of_the_caller(desk: Desk) -> None:
    sound = await handler(desk)
    with acting_for("umbrella", service="gateway"):
        assert not (await sound.ListCollections(pb.ListCollectionsRequest(), CONTEXT)).collections
        for refused in (
            sound.Search(SEARCH, CONTEXT),
            sound.ListDocuments(pb.ListDocumentsRequest(collection="help"), CONTEXT),
            sound.DeleteDocument(pb.DeleteDocumentRequest(collection="help", document_id="doc_000001"), CONTEXT),
        ):
            with pytest.raises(NotFound):
                await refused
    assert (await sound.Search(SEARCH, CONTEXT)).passages
