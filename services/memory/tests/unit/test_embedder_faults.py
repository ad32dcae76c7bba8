"""Faults on demand before an embedder: what it did, what its caller is told, and that a search goes on without it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from memory_fakes import Desk
from memory_samples import ACME, incoming
from plimsoll_memory.adapters.faulty_embedder import FaultyEmbedder
from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.models import open_embedders
from plimsoll_memory.adapters.router_embedder import EmbedderAway
from plimsoll_memory.adapters.vectors import EmbedderDiffers
from plimsoll_memory.domain.document import Vector
from plimsoll_memory.domain.search import SearchRequest
from plimsoll_memory.service.memory import Defaults
from plimsoll_runtime import logs
from plimsoll_runtime.errors import DeadlineExpired, PlimsollError
from plimsoll_runtime.faults import FaultKind, Faults, injecting
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


class Counting(HashingEmbedder):
    """The built-in embedder, which counts what it did."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.made += 1
        return await super().embed_passages(texts)

    async def embed_query(self, text: str) -> Vector:
        self.made += 1
        return await super().embed_query(text)


@contextmanager
def meeting(where: Path, kind: FaultKind, operation: str = "*", count: int = 1) -> Iterator[None]:
    rule = {"edge": "embedder", "kind": kind, "operation": operation, "count": count, "seconds": 0}
    path = where / "faults.json"
    path.write_text(json.dumps({"name": "test", "rules": [rule]}))
    faults = Faults("memory", path, logs.get("test"))
    faults.look()
    with injecting(faults):
        yield


@pytest.mark.parametrize(
    ("kind", "made", "error"),
    [
        (FaultKind.ERROR, 0, EmbedderAway),
        (FaultKind.TIMEOUT, 0, DeadlineExpired),
        (FaultKind.CUT, 1, EmbedderAway),
        (FaultKind.MALFORMED, 1, EmbedderDiffers),
    ],
)
async def test_a_fault_is_told_as_a_real_one_would_be(tmp_path: Path, kind: FaultKind, made: int, error: type[PlimsollError]) -> None:
    counting = Counting()
    embedder = FaultyEmbedder(counting)
    with meeting(tmp_path, kind, count=2):
        with pytest.raises(error):
            await embedder.embed_query("Where is my parcel?")
        with pytest.raises(error):
            await embedder.embed_passages(["It is late."])
        assert counting.made == 2 * made
        assert any(await embedder.embed_query("Where is my parcel?"))


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW])
async def test_what_is_late_is_the_same(tmp_path: Path, kind: FaultKind) -> None:
    embedder = FaultyEmbedder(HashingEmbedder())
    with meeting(tmp_path, kind):
        assert await embedder.embed_query("parcel") == await HashingEmbedder().embed_query("parcel")


async def test_every_embedder_that_is_opened_meets_them_and_only_the_one_that_is_named(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        embedders = await open_embedders((), "", TlsSettings(), stack)
    for name, embedder in embedders.items():
        assert (embedder.name, embedder.weight) == (name, HashingEmbedder.weight)
        with meeting(tmp_path, FaultKind.ERROR, "somebody-else"):
            await embedder.embed_query("parcel")
        with meeting(tmp_path, FaultKind.ERROR, name), pytest.raises(EmbedderAway, match=name):
            await embedder.embed_query("parcel")


async def test_a_search_goes_on_and_nothing_half_done_is_stored(tmp_path: Path, clock: FakeClock, ids: FakeIds) -> None:
    desk, embedder = Desk(clock=clock, ids=ids), FaultyEmbedder(HashingEmbedder())
    embedders = {embedder.name: embedder}
    memory = replace(desk.memory(), embedders=embedders, defaults=Defaults(embedder=embedder.name, language="english", recipe="1"))
    searching = replace(desk.searching(), embedders=embedders)
    request = SearchRequest(collection="help", query="refund card", limit=3, filter={})
    await memory.ingest(ACME, incoming())
    for kind, reason in ((FaultKind.ERROR, "EMBEDDER_AWAY"), (FaultKind.MALFORMED, "EMBEDDER_DIFFERS"), (FaultKind.CUT, "EMBEDDER_AWAY")):
        with meeting(tmp_path, kind):
            found = await searching.search(ACME, request)
        assert found.passages
        assert found.receipt.skipped == (f"vector: the embedder failed with {reason}",)
        with meeting(tmp_path, kind), pytest.raises(PlimsollError):
            await memory.ingest(ACME, incoming(source="other.md"))
        assert await desk.library.find_document(ACME, "help", "other.md") is None
    assert (await searching.search(ACME, request)).receipt.skipped == ()
