"""What every library and every passage index promises, whatever it stands on: run against the fake and against Postgres."""

from typing import Protocol

import pytest
from memory_samples import ACME, EAST, NOON, NORTH, NORTH_EAST, TEN, UMBRELLA, draft, question
from plimsoll_memory.domain.document import Settled
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.search import Candidates
from plimsoll_memory.errors import CollectionChanged
from plimsoll_memory.ports import Library, PassageIndex


class Shelf(Library, PassageIndex, Protocol):
    """Both ports on the same documents."""


class LibraryBehaviour:
    """Subclasses give the fixture `shelf`."""

    async def test_nothing_is_there_at_first(self, shelf: Shelf) -> None:
        assert await shelf.find_collection(ACME, "help") is None
        assert await shelf.settled(ACME, "help") is None
        assert await shelf.find_document(ACME, "help", "a.md") is None
        assert await shelf.list_collections(ACME) == []
        assert await shelf.list_documents(ACME, "help", TEN) == []

    async def test_a_document_comes_back_as_it_was_stored(self, shelf: Shelf) -> None:
        one = draft("first", "second", metadata={"team": "billing", "tags": ["a", {"b": None}]})
        stored = await shelf.store(ACME, one)
        assert stored.changed
        assert stored.document == await shelf.find_document(ACME, "help", "a.md")
        assert stored.document.document_id == "doc_1"
        assert stored.document.version == 1
        assert stored.document.chunks == 2
        assert stored.document.size_bytes == len(b"first\n\nsecond")
        assert stored.document.digest == one.incoming.digest
        assert stored.document.metadata == {"team": "billing", "tags": ["a", {"b": None}]}
        assert stored.document.updated_at == NOON

    async def test_the_first_document_makes_the_collection(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("one", "two"))
        await shelf.store(ACME, draft("three", source="b.md", document_id="doc_2"))
        collection = await shelf.find_collection(ACME, "help")
        assert collection is not None
        assert (collection.documents, collection.chunks) == (2, 3)
        assert (collection.embedder, collection.language, collection.created_at) == ("compass-1", "english", NOON)
        assert await shelf.list_collections(ACME) == [collection]
        assert await shelf.settled(ACME, "help") == Settled(name="help", language="english", embedder="compass-1")

    async def test_with_a_document_its_parts_are_forgotten(self, shelf: Shelf) -> None:
        await self._store_in_parts(shelf)
        assert await shelf.delete_document(ACME, "help", "doc_1")
        assert [one.source for one in await shelf.list_documents(ACME, "help", TEN)] == ["a.md.bak", "b.md"]

    async def test_a_part_alone_can_be_forgotten(self, shelf: Shelf) -> None:
        await self._store_in_parts(shelf)
        assert await shelf.delete_document(ACME, "help", "doc_2")
        assert [one.source for one in await shelf.list_documents(ACME, "help", TEN)] == ["a.md", "a.md#3", "a.md.bak", "b.md"]

    async def test_what_comes_whole_takes_the_place_of_all_parts(self, shelf: Shelf) -> None:
        await self._store_in_parts(shelf)
        await shelf.store(ACME, draft("now whole"))
        assert [one.source for one in await shelf.list_documents(ACME, "help", TEN)] == ["a.md", "a.md.bak", "b.md"]

    async def test_a_document_that_calls_itself_a_part_and_has_no_number_harms_nobody(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("one"))
        await shelf.store(ACME, draft("odd", source="a.md#x", document_id="doc_2", metadata={"part_of": "a.md", "part": "many"}))
        await shelf.store(ACME, draft("another one"))
        assert await shelf.delete_document(ACME, "help", "doc_1")
        assert [one.source for one in await shelf.list_documents(ACME, "help", TEN)] == ["a.md#x"]

    async def _store_in_parts(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("one"))
        for number in (2, 3):
            part = draft(
                f"part {number}", source=f"a.md#{number}", document_id=f"doc_{number}", metadata={"part_of": "a.md", "part": number}
            )
            await shelf.store(ACME, part)
        for number, source in enumerate(("a.md.bak", "b.md"), 4):
            await shelf.store(ACME, draft("other", source=source, document_id=f"doc_{number}"))

    async def test_the_same_document_again_changes_nothing(self, shelf: Shelf) -> None:
        first = await shelf.store(ACME, draft("one"))
        again = await shelf.store(ACME, draft("one", document_id="doc_2"))
        assert not again.changed
        assert again.document == first.document

    async def test_another_content_takes_the_place_of_the_old(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("old words", "more of them"))
        stored = await shelf.store(ACME, draft("fresh text", document_id="doc_2"))
        assert stored.changed
        assert (stored.document.document_id, stored.document.version, stored.document.chunks) == ("doc_1", 2, 1)
        collection = await shelf.find_collection(ACME, "help")
        assert collection is not None
        assert (collection.documents, collection.chunks) == (1, 1)
        found = await shelf.candidates(ACME, question("old fresh", vector=NORTH))
        assert [one.text for one in found.passages] == ["fresh text"]

    async def test_other_metadata_is_a_change_too(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("words", metadata={"state": "draft"}))
        stored = await shelf.store(ACME, draft("words", metadata={"state": "final"}))
        assert stored.changed
        assert stored.document.metadata == {"state": "final"}
        assert texts(await shelf.candidates(ACME, question("words", metadata={"state": "final"}))) == ["words"]
        assert texts(await shelf.candidates(ACME, question("words", metadata={"state": "draft"}))) == []

    async def test_a_collection_keeps_its_embedder_and_its_language(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("one"))
        with pytest.raises(CollectionChanged):
            await shelf.store(ACME, draft("two", source="b.md", embedder="compass-2"))
        with pytest.raises(CollectionChanged):
            await shelf.store(ACME, draft("two", source="b.md", language="german"))
        assert await shelf.find_document(ACME, "help", "b.md") is None

    async def test_documents_are_listed_by_source_page_by_page(self, shelf: Shelf) -> None:
        for number, source in enumerate(["b", "a/1", "a", "Z", "ä"]):
            await shelf.store(ACME, draft("text", source=source, document_id=f"doc_{number}"))
        first = await shelf.list_documents(ACME, "help", PageRequest(after="", size=3))
        rest = await shelf.list_documents(ACME, "help", PageRequest(after=first[-1].source, size=3))
        assert [one.source for one in [*first, *rest]] == ["Z", "a", "a/1", "b", "ä"]

    async def test_a_deleted_document_is_forgotten(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("secret plan"))
        await shelf.store(ACME, draft("public plan", source="b.md", document_id="doc_2"))
        assert await shelf.delete_document(ACME, "help", "doc_1")
        assert await shelf.find_document(ACME, "help", "a.md") is None
        found = await shelf.candidates(ACME, question("secret plan", vector=NORTH))
        assert texts(found) == ["public plan"]
        assert found.words == 1, "the word that only the deleted document had is forgotten too"
        collection = await shelf.find_collection(ACME, "help")
        assert collection is not None
        assert (collection.documents, collection.chunks) == (1, 1)

    async def test_deleting_what_is_not_there_says_so(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("text"))
        assert not await shelf.delete_document(ACME, "help", "doc_9")
        assert not await shelf.delete_document(ACME, "other", "doc_1")
        assert await shelf.delete_document(ACME, "help", "doc_1")
        assert not await shelf.delete_document(ACME, "help", "doc_1")

    async def test_a_source_that_was_deleted_begins_anew(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("text"))
        await shelf.delete_document(ACME, "help", "doc_1")
        stored = await shelf.store(ACME, draft("text", document_id="doc_2"))
        assert (stored.changed, stored.document.document_id, stored.document.version) == (True, "doc_2", 1)

    async def test_tenants_do_not_see_each_other(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("acme words"))
        await shelf.store(UMBRELLA, draft("umbrella words"))  # the same ids, the same source
        await shelf.store(UMBRELLA, draft("second", source="b.md", document_id="doc_2"))
        assert [one.chunks for one in await shelf.list_collections(ACME)] == [1]
        assert [one.source for one in await shelf.list_documents(ACME, "help", TEN)] == ["a.md"]
        assert await shelf.find_document(ACME, "help", "b.md") is None
        assert not await shelf.delete_document(ACME, "help", "doc_2")
        assert texts(await shelf.candidates(ACME, question("umbrella words second", vector=NORTH))) == ["acme words"]
        assert await shelf.delete_document(ACME, "help", "doc_1")
        assert texts(await shelf.candidates(UMBRELLA, question("umbrella words"))) == ["umbrella words"]


class PassageIndexBehaviour:
    """Subclasses give the fixture `shelf`."""

    async def test_an_empty_or_unknown_collection_has_no_candidates(self, shelf: Shelf) -> None:
        found = await shelf.candidates(ACME, question("anything", vector=NORTH))
        assert found == Candidates(passages=[], text_count=0, vector_count=0, words=0, exact=True)

    async def test_a_candidate_says_where_it_is_from(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("one", "a kettle", metadata={"team": "kitchen"}, title="Tea"))
        (candidate,) = (await shelf.candidates(ACME, question("kettle"))).passages
        assert candidate.chunk_id == "doc_1.1.1"
        assert (candidate.document_id, candidate.source, candidate.title) == ("doc_1", "a.md", "Tea")
        assert (candidate.headings, candidate.text) == (("Overview",), "a kettle")
        assert (candidate.start, candidate.end) == (5, 13)
        assert candidate.metadata == {"team": "kitchen"}
        assert (candidate.text_rank, candidate.vector_rank) == (1, 0)

    async def test_one_word_of_a_long_question_is_enough(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("The kettle whistles.", "The lamp glows."))
        found = await shelf.candidates(ACME, question("What on earth could make a kettle behave in this surprising manner?"))
        assert texts(found) == ["The kettle whistles."]
        assert found.words == 1

    async def test_rare_words_say_more_than_common_ones(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("tea cup", "tea pot", "tea leaf", "tea kettle", "milk jug"))
        found = by_rank(await shelf.candidates(ACME, question("tea milk")))
        assert found[0] == "milk jug"
        assert len(found) == 5

    async def test_titles_and_headings_are_searched_too(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("Five days.", title="Refunds"))
        assert texts(await shelf.candidates(ACME, question("refunds"))) == ["Five days."]
        assert texts(await shelf.candidates(ACME, question("overview"))) == ["Five days."]

    async def test_inflection_does_not_matter(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("two kettles"))
        assert texts(await shelf.candidates(ACME, question("kettle"))) == ["two kettles"]

    @pytest.mark.parametrize("query", ["the and of", "xyzzy", "!!! ??? ---", "' \" \\ | & ! ( ) <-> :*", "\U0001f600 \u200b"])
    async def test_a_query_without_a_known_word_finds_nothing_by_text(self, shelf: Shelf, query: str) -> None:
        await shelf.store(ACME, draft("kettle"))
        found = await shelf.candidates(ACME, question(query))
        assert (found.words, found.text_count, list(found.passages)) == (0, 0, [])

    @pytest.mark.parametrize(
        "word", ["o'neill", "back\\slash", "a:b", "c++", "ship's|sail", "naïve", "北京市", "user@example.com", "v1.2.3", "/etc/hosts"]
    )
    async def test_any_word_that_is_stored_is_found(self, shelf: Shelf, word: str) -> None:
        await shelf.store(ACME, draft(f"about {word} here", "unrelated"))
        assert texts(await shelf.candidates(ACME, question(word))) == [f"about {word} here"]

    async def test_nearest_vectors_come_first_and_far_ones_not_at_all(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("east", "north", "between", vectors=(EAST, NORTH, NORTH_EAST)))
        found = await shelf.candidates(ACME, question("xyzzy", vector=NORTH, floor=0.7))
        ranked = sorted(found.passages, key=lambda one: one.vector_rank)
        assert [(one.text, one.vector_rank, one.text_rank) for one in ranked] == [("north", 1, 0), ("between", 2, 0)]
        assert (found.vector_count, found.exact) == (2, True)

    async def test_a_text_without_a_vector_is_never_near(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("nothing", "north", vectors=((0.0, 0.0, 0.0), NORTH)))
        assert texts(await shelf.candidates(ACME, question("xyzzy", vector=NORTH))) == ["north"]

    async def test_vectors_of_another_embedder_are_not_compared(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("north", embedder="other-1"))
        found = await shelf.candidates(ACME, question("xyzzy", vector=NORTH))
        assert found.vector_count == 0

    async def test_a_passage_in_both_lists_has_both_ranks(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("kettle", "lamp", vectors=(EAST, NORTH)))
        found = await shelf.candidates(ACME, question("kettle", vector=EAST))
        assert [(one.text, one.text_rank, one.vector_rank) for one in found.passages] == [("kettle", 1, 1)]

    async def test_a_filter_holds_in_both_lists(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft("kettle one", metadata={"team": "a", "year": 2025}))
        await shelf.store(ACME, draft("kettle two", source="b.md", document_id="doc_2", metadata={"team": "b", "nested": {"x": 1, "y": 2}}))
        both = await shelf.candidates(ACME, question("kettle", vector=NORTH))
        only = await shelf.candidates(ACME, question("kettle", vector=NORTH, metadata={"team": "b"}))
        deep = await shelf.candidates(ACME, question("kettle", vector=NORTH, metadata={"nested": {"y": 2}}))
        none = await shelf.candidates(ACME, question("kettle", vector=NORTH, metadata={"team": "a", "year": 1999}))
        assert [(found.text_count, found.vector_count) for found in (both, only, deep, none)] == [(2, 2), (1, 1), (1, 1), (0, 0)]
        assert texts(only) == texts(deep) == ["kettle two"]

    async def test_lists_are_as_deep_as_asked_for(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft(*(f"kettle number {number}" for number in range(9))))
        found = await shelf.candidates(ACME, question("kettle", vector=NORTH, depth=4))
        assert (found.text_count, found.vector_count) == (4, 4)
        assert sorted(one.text_rank for one in found.passages if one.text_rank) == [1, 2, 3, 4]

    async def test_what_cannot_get_into_the_answer_is_left_out(self, shelf: Shelf) -> None:
        await shelf.store(ACME, draft(*(f"kettle {'tea ' * number}" for number in range(5)), vectors=(EAST,) * 5))
        found = await shelf.candidates(ACME, question("kettle", vector=NORTH, keep=2))
        assert sorted(one.text_rank for one in found.passages) == [1, 2]
        assert found.text_count == 5


def texts(found: Candidates) -> list[str]:
    return sorted(one.text for one in found.passages)


def by_rank(found: Candidates) -> list[str]:
    return [one.text for one in sorted(found.passages, key=lambda one: one.text_rank)]
