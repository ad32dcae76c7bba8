"""The verbs of memory, on fakes."""

from dataclasses import replace

import pytest
from memory_fakes import Desk, FakeEmbedder, FakeReranker
from memory_samples import ACME, HANDBOOK, UMBRELLA, incoming
from plimsoll_memory.domain.paging import page_request
from plimsoll_memory.domain.search import Configuration, SearchRequest
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


class TestRerank:
    async def test_the_collections_reranker_orders_the_answer(self, desk: Desk, memory: Memory) -> None:
        desk.rerankers.append(FakeReranker())
        await desk.memory().ingest(ACME, incoming())
        assert (await desk.searching().search(ACME, ask())).receipt.reranker == ""
        await desk.memory().configure(ACME, "help", embedder="", reranker="length-1")
        answer = await desk.searching().search(ACME, ask())
        lengths = [len(one.candidate.text) for one in answer.passages]
        assert lengths == sorted(lengths, reverse=True)
        assert (answer.receipt.reranker, answer.receipt.reranked) == ("length-1", len(lengths))
        assert [one.rerank_score for one in answer.passages] == lengths
        await desk.memory().configure(ACME, "help", embedder="", reranker="none")
        assert (await desk.searching().search(ACME, ask())).receipt.reranker == ""

    @pytest.mark.parametrize(
        ("reranker", "said"),
        [
            (FakeReranker(never=True), "rerank: took longer than 10 ms"),
            (FakeReranker(error=Unavailable("away", reason="MODEL_AWAY")), "rerank: the reranker failed with MODEL_AWAY"),
        ],
    )
    async def test_one_that_fails_or_dawdles_is_left_out_and_said_so(self, desk: Desk, reranker: FakeReranker, said: str) -> None:
        desk.rerankers.append(reranker)
        await desk.memory().ingest(ACME, incoming())
        plain = await desk.searching().search(ACME, ask())
        wanted = replace(ask(), configuration=Configuration(rerank=True))
        answer = await desk.searching(rerank_cap_s=0.01).search(ACME, wanted)
        assert answer.receipt.skipped == (said,)
        assert [one.candidate.chunk_id for one in answer.passages] == [one.candidate.chunk_id for one in plain.passages]

    async def test_one_that_is_gone_is_said_so(self, desk: Desk) -> None:
        desk.rerankers.append(FakeReranker())
        await desk.memory().ingest(ACME, incoming())
        await desk.memory().configure(ACME, "help", embedder="", reranker="length-1")
        desk.rerankers.clear()
        assert (await desk.searching().search(ACME, ask())).receipt.skipped == ("rerank: the reranker length-1 is not configured",)


class TestFailures:
    async def test_a_search_that_failed_is_announced_with_its_failure(self, desk: Desk) -> None:
        await desk.memory().ingest(ACME, incoming())
        desk.library.error = Unavailable("away", reason="DATABASE_UNAVAILABLE", retry_after_s=1.0)
        with pytest.raises(Unavailable):
            await desk.searching().search(ACME, ask())
        (completed,) = desk.search_log.completed
        assert completed.failure is not None
        assert (completed.failure.reason, completed.failure.retryable, completed.receipt.requested) == ("DATABASE_UNAVAILABLE", True, 5)

    async def test_what_the_caller_did_wrong_is_no_failed_search(self, desk: Desk) -> None:
        with pytest.raises(CollectionNotFound):
            await desk.searching().search(ACME, ask())
        assert not desk.search_log.completed

    async def test_a_failure_that_cannot_be_announced_is_still_the_failure(self, desk: Desk) -> None:
        await desk.memory().ingest(ACME, incoming())
        desk.library.error = desk.search_log.error = Unavailable("away", reason="DATABASE_UNAVAILABLE")
        with pytest.raises(Unavailable):
            await desk.searching().search(ACME, ask())


class TestConfigurations:
    @pytest.mark.parametrize(
        ("configuration", "field"),
        [
            (Configuration(vector_weight=-1), "configuration.vector_weight"),
            (Configuration(text_weight=float("nan")), "configuration.text_weight"),
            (Configuration(text_weight=0, vector_weight=0), "configuration"),
            (Configuration(name="x" * 101), "configuration.name"),
        ],
    )
    async def test_one_that_makes_no_sense_is_refused(self, searching: Searching, configuration: Configuration, field: str) -> None:
        with pytest.raises(RequestRefused) as refusal:
            await searching.search(ACME, replace(ask(), configuration=configuration))
        assert refusal.value.problems[0].field == field


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
