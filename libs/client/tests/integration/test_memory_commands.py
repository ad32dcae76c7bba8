"""`plimsoll memory` against a gateway: documents from files, folders and standard input, and how good retrieval is."""

import hashlib
import io
import sys
from pathlib import Path

import pytest
from client_fakes import FakeGateway
from client_shell import Shell
from plimsoll_client import connect
from plimsoll_client.errors import BadInput
from plimsoll_client.labelled import read_configuration, read_queries
from plimsoll_client.retrieval import Judgement, SearchConfiguration
from plimsoll_runtime.errors import Unavailable

QUERIES = """
{"query": "How long do returns take?", "relevant": ["returns.md", {"source": "faq.md", "grade": 2, "span": [10, 90]}], "filter": {"lang": "en"}}
{"id": "q-2", "query": "Who pays?", "relevant": []}
"""


async def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Returns take 30 days.")
    (tmp_path / "b.md").write_bytes(b"\0")
    (tmp_path / "c.xls").write_bytes(b"x")
    (tmp_path / "d.md").write_text("Refunds are quick.")
    assert await plimsoll("memory", "ingest", "help", str(tmp_path)) == 2
    assert sorted(source for _, source in gateway.documents) == ["a.md", "d.md"]
    assert "b.md" in plimsoll.err
    assert "c.xls" in plimsoll.err
    assert "a.md" in plimsoll.out


async def test_standard_input_needs_a_name_and_an_ending(gateway: FakeGateway, plimsoll: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"# Returns")))
    assert await plimsoll("memory", "ingest", "help", "-") == 2
    assert "--as" in plimsoll.err
    assert await plimsoll("memory", "ingest", "help", "-", "--as", "md", "--source", "returns.md") == 0
    assert gateway.documents["help", "returns.md"].media_type == "text/markdown"


async def test_a_large_file_goes_in_pieces_and_goes_on_where_it_ended(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    content = b"All about the harbour and its cranes.\n" * 300_000  # 11 MB
    (tmp_path / "large.md").write_bytes(content)
    key = hashlib.sha256(content).hexdigest()
    gateway.uploads["help", "large.md", key] = bytearray(content[:6_000_000])
    gateway.refusals["UploadDocument"] = [Unavailable("away")]
    assert await plimsoll("memory", "ingest", "help", str(tmp_path / "large.md"), "--json") == 0
    assert bytes(gateway.uploads["help", "large.md", key]) == content
    assert gateway.calls.count("UploadDocument") == 4, "one that was refused, one that asked where to begin, two pieces"
    assert plimsoll.json() == [{"source": "large.md", "changed": True, "documents": 11, "passages": 7}]


async def test_pieces_that_are_taken_in_part_only_are_sent_from_there(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    gateway.taken_at_most = 1_500_000
    (tmp_path / "large.md").write_bytes(b"line\n" * 1_000_000)
    assert await plimsoll("memory", "ingest", "help", str(tmp_path)) == 0
    assert [bytes(one) for one in gateway.uploads.values()] == [b"line\n" * 1_000_000]


async def test_an_upload_that_never_gets_on_is_given_up(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    gateway.taken_at_most = 0
    (tmp_path / "large.md").write_bytes(b"line\n" * 1_000_000)
    (tmp_path / "small.md").write_text("Refunds are quick.")
    assert await plimsoll("memory", "ingest", "help", str(tmp_path)) == 2
    assert "large.md" in plimsoll.err
    assert "small.md" in plimsoll.out


async def test_metadata_and_labels_go_with_every_document(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Returns take 30 days.")
    options = ("--metadata", '{"team": "port"}', "--label", "private", "--label", "draft")
    assert await plimsoll("memory", "ingest", "help", str(tmp_path), *options) == 0
    sent = gateway.documents["help", "a.md"]
    assert (sent.metadata.text, list(sent.labels)) == ('{"team":"port"}', ["private", "draft"])


@pytest.mark.parametrize("content", [b"", b"  \n", b"\0" * 5_000_000, b"PK\x03\x04" + b"x" * 5_000_000])
async def test_a_file_that_is_no_text_is_refused_before_it_is_sent(
    gateway: FakeGateway, plimsoll: Shell, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.md").write_bytes(content)
    assert await plimsoll("memory", "ingest", "help", str(tmp_path)) == 2
    assert not gateway.calls


async def test_large_standard_input_is_taken_whole(gateway: FakeGateway, plimsoll: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"line\n" * 1_000_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert await plimsoll("memory", "ingest", "help", "-", "--as", ".txt", "--source", "log.txt") == 0
    assert gateway.uploads["help", "log.txt", hashlib.sha256(content).hexdigest()] == content


async def test_documents_are_listed_and_forgotten_by_their_source(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Returns take 30 days.")
    await plimsoll("memory", "ingest", "help", str(tmp_path))
    assert await plimsoll("memory", "documents", "help") == 0
    assert "a.md" in plimsoll.out
    assert await plimsoll("memory", "delete", "help", "a.md") == 0
    assert await plimsoll("memory", "delete", "help", "doc_9") == 0
    assert gateway.deleted == [("help", "doc_0"), ("help", "doc_9")]


async def test_a_whole_collection_is_forgotten_only_when_that_is_said(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("memory", "delete", "help") == 2
    assert await plimsoll("memory", "delete", "help", "a.md", "--all") == 2
    assert not gateway.deleted
    assert await plimsoll("memory", "delete", "help", "--all") == 0
    assert "3 documents" in plimsoll.out


async def test_a_collection_is_configured_and_says_how_far_it_is(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("memory", "configure", "help", "--embedder", "new-1", "--reranker", "none") == 0
    assert "old-1 → new-1 (25 %)" in plimsoll.out
    assert (gateway.configured[0].embedder, gateway.configured[0].reranker) == ("new-1", "none")


async def test_quality_shows_windows_and_what_drifts(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("memory", "quality", "help") == 0
    assert "25%" in plimsoll.out
    assert "50% of 4" in plimsoll.out
    assert "7.5" in plimsoll.out


async def test_query_sets_are_kept_evaluated_by_name_and_forgotten(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(QUERIES)
    assert await plimsoll("memory", "queries", "put", "kept", "help", str(tmp_path / "q.jsonl")) == 0
    assert await plimsoll("memory", "queries", "list") == 0
    assert "kept" in plimsoll.out
    assert await plimsoll("memory", "eval", "help", "@kept") == 0
    assert (gateway.evaluated[0].query_set, len(gateway.evaluated[0].queries)) == ("kept", 0)
    assert await plimsoll("memory", "queries", "delete", "kept") == 0
    assert not gateway.query_sets


async def test_what_is_remembered_of_a_thread_is_shown(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("memory", "thread", "t-1") == 0
    for said in ("Ada ordered a lamp.", "Where is my parcel?", "ada@example.org", "of the 2 turns before"):
        assert said in plimsoll.out
    assert await plimsoll("memory", "thread", "t-1", "--json") == 0
    found = plimsoll.json()
    assert isinstance(found, dict)
    assert (found["turns"][0]["origin"], found["facts"][0]["attribute"]) == ("user", "email")


async def test_facts_are_listed_and_forgotten(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("memory", "facts", "--subject", "ada") == 0
    assert "fact_1" in plimsoll.out
    assert await plimsoll("memory", "facts", "--thread", "nobody") == 0
    assert await plimsoll("memory", "facts") == 2
    assert await plimsoll("memory", "forget", "--subject", "ada", "--fact", "fact_1") == 2
    assert await plimsoll("memory", "forget", "--fact", "fact_1") == 0
    assert "4 turns and 2 facts" in plimsoll.out
    assert [one.fact_id for one in gateway.forgotten] == ["fact_1"]


async def test_what_an_answer_used_is_reported(gateway: FakeGateway) -> None:
    async with connect() as mesh:
        use = await mesh.memory.report_use("search_1", passages=["c1", "c2"])
        await mesh.memory.search("help", "cranes", configuration=SearchConfiguration(exact=True))
    assert (use.passages, use.used) == (5, 2)
    assert gateway.reported[0].search_id == "search_1"
    assert gateway.searched[0].configuration.exact


async def test_an_evaluation_shows_measures_with_intervals_and_what_was_left_out(
    gateway: FakeGateway, plimsoll: Shell, tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_text(QUERIES)
    assert await plimsoll("memory", "eval", "help", str(tmp_path / "q.jsonl"), "--at", "10") == 0
    assert "ndcg@10" in plimsoll.out
    assert "0.400 to 0.600" in plimsoll.out
    assert "left out: 2: nothing is judged relevant" in plimsoll.err
    (asked,) = gateway.evaluated
    assert (asked.collection, list(asked.ks), [one.query_id for one in asked.queries]) == ("help", [10], ["2", "q-2"])
    assert not asked.HasField("configuration")


async def test_two_ways_to_search_are_compared(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(QUERIES)
    options = ("--with", '{"rerank": true}', "--against", '{"vector_weight": 0}', "--json")
    assert await plimsoll("memory", "eval", "help", str(tmp_path / "q.jsonl"), *options) == 0
    found = plimsoll.json()
    assert isinstance(found, dict)
    assert found["comparisons"][0]["verdict"] == "better"
    (asked,) = gateway.evaluated
    assert (asked.configuration.rerank, asked.configuration.HasField("vector_weight")) == (True, False)
    assert (asked.baseline.vector_weight, asked.baseline.HasField("vector_weight"), asked.baseline.name) == (
        0,
        True,
        '{"vector_weight": 0}',
    )


def test_queries_are_read_with_their_judgements() -> None:
    first, second = read_queries("q.jsonl", QUERIES)
    assert (first.id, first.filter) == ("2", {"lang": "en"})
    assert first.judgements == (Judgement(source="returns.md"), Judgement(source="faq.md", grade=2, span=(10, 90)))
    assert (second.id, second.judgements) == ("q-2", ())


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"query": 1, "relevant": []}', '{"query": "a"}', '{"query": "a", "relevant": [1]}', '{"query": "a", "relevant": [], "filter": 1}',
     '{"query": "a", "relevant": [{"source": "b", "grade": "high"}]}', '{"query": "a", "relevant": [{"source": "b", "span": [1]}]}'],
)  # fmt: skip
def test_a_line_that_makes_no_sense_is_named(line: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read_queries("q.jsonl", line)
    assert refusal.value.problems[0].field.startswith("q.jsonl")
    assert refusal.value.problems[0].remedy


@pytest.mark.parametrize("text", ['{"depth": 3}', '{"rerank": 1}', '{"vector_weight": "much"}', "[]"])
def test_a_configuration_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Exception, match=r"--with|depth|rerank|vector_weight"):
        read_configuration("--with", text)
