"""The verbs of memory, on fakes."""

import pytest
from memory_fakes import Desk, FakeEmbedder
from memory_samples import ACME, HANDBOOK, UMBRELLA, incoming
from plimsoll_memory.domain.paging import page_request
from plimsoll_memory.domain.search import SearchRequest
from plimsoll_memory.errors import CollectionNotFound, DocumentNotFound, EmbedderMissing, NoText, RequestRefused
from plimsoll_memory.service.memory import Memory
from plimsoll_memory.service.searching import Searching
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def desk(clock: FakeClock, ids: FakeIds) -> Desk:
    return Desk(clock=clock, ids=ids)


@pytest.fixture
def memory(desk: Desk) -> Memory:
    return desk.memory()


@pytest.fixture
def searching(desk: Desk) -> Searching:
    return desk.searching()


def ask(query: str = "How long does a refund take?", *, limit: int = 5, metadata: JsonObject | None = None) -> SearchRequest:
    return SearchRequest(collection="help", query=query, limit=limit, filter=metadata or {})


class TestIngest:
    async def test_a_document_becomes_searchable_passages(self, memory: Memory, searching: Searching) -> None:
        stored = await memory.ingest(ACME, incoming())
        assert stored.changed
        assert stored.document.title == "Billing handbook"
        answer = await searching.search(ACME, ask())
        assert answer.passages[0].candidate.headings == ("Billing handbook", "Refunds")

    async def test_the_same_document_again_is_not_even_read(self, desk: Desk, memory: Memory) -> None:
        first = await memory.ingest(ACME, incoming())
        again = await memory.ingest(ACME, incoming())
        assert (again.changed, again.document) == (False, first.document)
        assert desk.reader.reads == 1

    async def test_another_way_of_reading_makes_it_new(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        later = desk.memory(recipe="2")
        assert (await later.ingest(ACME, incoming())).document.version == 2

    async def test_a_passage_is_embedded_with_its_title_and_headings(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming("# Guide\n\n## Part\n\nText."))
        assert desk.embedder.embedded == ["Guide › Part\n# Guide\n\n## Part\n\nText."]

    async def test_what_cannot_be_read_changes_nothing(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        with pytest.raises(NoText):
            await memory.ingest(ACME, incoming(" \n\t\n"))
        document = await desk.library.find_document(ACME, "help", "billing.md")
        assert document is not None
        assert document.version == 1

    async def test_a_collection_goes_on_with_the_embedder_and_language_it_began_with(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        both = desk.memory(FakeEmbedder(name="fake-2"), desk.embedder, language="german")
        await both.ingest(ACME, incoming(source="other.md"))
        await both.ingest(UMBRELLA, incoming())
        assert [(one.embedder, one.language, one.documents) for one in await both.list_collections(ACME)] == [("fake-1", "english", 2)]
        assert [(one.embedder, one.language) for one in await both.list_collections(UMBRELLA)] == [("fake-2", "german")]

    async def test_an_embedder_that_is_gone_is_said_so(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        newer = desk.memory(FakeEmbedder(name="fake-2"))
        with pytest.raises(EmbedderMissing, match="fake-1"):
            await newer.ingest(ACME, incoming("# Other"))


class TestSearch:
    async def test_the_answer_comes_with_a_receipt(self, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        answer = await searching.search(ACME, ask(limit=2))
        receipt = answer.receipt
        assert (receipt.requested, receipt.returned, receipt.exact, receipt.embedder, receipt.skipped) == (2, 2, True, "fake-1", ())
        assert receipt.text_candidates >= 1
        assert receipt.vector_candidates >= 1
        assert receipt.best_score == answer.passages[0].score > answer.passages[1].score > 0

    async def test_every_search_is_announced_without_its_words(self, desk: Desk, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        work = WorkContext(run_id="run_1", step=4, node="look_up")
        answer = await searching.search(ACME, SearchRequest(collection="help", query="refund", limit=1, filter={}, work=work))
        (completed,) = desk.search_log.completed
        assert (completed.tenant, completed.collection, completed.work, completed.receipt) == (ACME, "help", work, answer.receipt)
        assert completed.started_at == desk.clock.now()
        assert "refund" not in repr(completed)

    async def test_finding_nothing_is_an_answer(self, desk: Desk, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        answer = await searching.search(ACME, ask("xyzzy qwrtp"))
        assert list(answer.passages) == []
        assert (answer.receipt.returned, answer.receipt.best_score) == (0, 0)
        assert answer.receipt.skipped == ("text: the collection knows no word of the query",)
        assert len(desk.search_log.completed) == 1

    async def test_a_query_of_nothing_but_small_words_says_what_was_skipped(self, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        answer = await searching.search(ACME, ask("what is it"))
        assert [one.partition(":")[0] for one in answer.receipt.skipped] == ["text", "vector"]

    async def test_a_broken_embedder_leaves_full_text_and_says_so(self, desk: Desk, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        desk.embedder.error = Unavailable("away", reason="EMBEDDER_AWAY")
        answer = await searching.search(ACME, ask())
        assert answer.passages
        assert answer.receipt.skipped == ("vector: the embedder failed with EMBEDDER_AWAY",)
        assert (answer.receipt.embedder, answer.receipt.vector_candidates) == ("", 0)

    async def test_a_missing_embedder_leaves_full_text_and_says_so(self, desk: Desk, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        newer = desk.searching(FakeEmbedder(name="fake-2"))
        answer = await newer.search(ACME, ask())
        assert answer.passages
        assert answer.receipt.skipped == ("vector: the embedder fake-1 is not configured",)

    async def test_a_collection_that_does_not_exist_for_this_tenant_is_not_found(self, memory: Memory, searching: Searching) -> None:
        await memory.ingest(ACME, incoming())
        with pytest.raises(CollectionNotFound, match="'help'"):
            await searching.search(UMBRELLA, ask())

    async def test_a_bad_request_is_refused_before_anything_is_asked(self, desk: Desk, memory: Memory, searching: Searching) -> None:
        with pytest.raises(RequestRefused):
            await searching.search(ACME, ask(limit=0))
        assert not desk.search_log.completed


class TestDocuments:
    async def test_pages_join(self, memory: Memory) -> None:
        for number in range(5):
            await memory.ingest(ACME, incoming(HANDBOOK, source=f"{number}.md"))
        seen: list[str] = []
        token = ""
        for _ in range(3):
            page = await memory.list_documents(ACME, "help", page_request("help", 2, token))
            seen += [one.source for one in page.documents]
            token = page.next_token
        assert seen == [f"{number}.md" for number in range(5)]
        assert token == ""

    async def test_a_full_last_page_has_no_next(self, memory: Memory) -> None:
        await memory.ingest(ACME, incoming())
        assert (await memory.list_documents(ACME, "help", page_request("help", 1, ""))).next_token == ""

    async def test_documents_of_an_unknown_collection_are_not_found(self, memory: Memory) -> None:
        with pytest.raises(CollectionNotFound):
            await memory.list_documents(ACME, "help", page_request("help", 1, ""))

    async def test_a_deleted_document_is_found_no_more(self, memory: Memory, searching: Searching) -> None:
        stored = await memory.ingest(ACME, incoming())
        await memory.delete_document(ACME, "help", stored.document.document_id)
        assert list((await searching.search(ACME, ask())).passages) == []
        with pytest.raises(DocumentNotFound, match="doc_000001"):
            await memory.delete_document(ACME, "help", stored.document.document_id)
