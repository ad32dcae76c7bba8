"""`plimsoll memory` against a gateway: documents from files, folders and standard input, and how good retrieval is."""

import io
import sys
from pathlib import Path

import pytest
from client_fakes import FakeGateway
from client_shell import Shell
from plimsoll_client.errors import BadInput
from plimsoll_client.labelled import read_configuration, read_queries
from plimsoll_client.retrieval import Judgement

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
