"""What the rehearsal model finds in running text: values, facts, passages, sentences."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.domain.messages import ToolResult, assistant, results, system, user
from plimsoll_model_router.domain.rehearsal import facts, spans
from plimsoll_model_router.domain.rehearsal.context import read_context
from plimsoll_model_router.domain.rehearsal.facts import Passage
from plimsoll_model_router.domain.rehearsal.quote import Library
from plimsoll_model_router.domain.rehearsal.spans import Span
from plimsoll_model_router.domain.rehearsal.text import sentences

Finder = Callable[[str], list[Span]]


def values(finder: Finder, text: str) -> list[object]:
    return [span.value for span in finder(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It cost 1,250.50 EUR", [1250.5]),
        ("Es kostet 1.250,50 EUR", [1250.5]),
        ("12 pieces at 3.5, minus -2", [12, 3.5, -2]),
        ("a million is 1,000,000 or 1 000 000", [1_000_000, 1_000_000]),
        ("order BX-1042 of 3 March 2024 costs 7", [7]),
        ("version 1.2.3 and 10/20 are none", []),
        ("two wheels and 3 tyres", [3, 2]),
        ("0,125 litres", [0.125]),
    ],
)
def test_numbers_are_read_in_every_writing_and_never_out_of_dates_and_identifiers(text: str, found: list[object]) -> None:
    assert values(spans.numbers, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("on 2026-03-01 and 3 March 2026", ["2026-03-01", "2026-03-03"]),
        ("March 3rd, 2026; 1st of April 2026; 5. Mai 2026", ["2026-03-03", "2026-04-01"]),
        ("13/02/2026, 02/13/2026, 01.02.2026", ["2026-02-13", "2026-02-13", "2026-02-01"]),
        ("31 February 2026 and 2026-13-01 are none", []),
    ],
)
def test_days_are_read_in_every_writing(text: str, found: list[object]) -> None:
    assert values(spans.dates, text) == found


@pytest.mark.parametrize(
    ("finder", "text", "found"),
    [
        (spans.emails, "write to ann.bell+x@mail.example.com.", ["ann.bell+x@mail.example.com"]),
        (spans.uris, "see https://example.com/a?b=1.", ["https://example.com/a?b=1"]),
        (spans.moments, "at 2026-03-01 10:30 or 2026-03-01T10:30:05+0200", ["2026-03-01T10:30:00Z", "2026-03-01T10:30:05+02:00"]),
        (spans.identifiers, "orders AC-1042 and #77, paid 12.50 on 2026-03-01", ["AC-1042", "77"]),
        (spans.quoted, 'he said "all good" and left', ["all good"]),
        (spans.names, "signed by Petra Lam for the Norden Auto Company in March", ["Petra Lam", "Norden Auto Company"]),
    ],
)
def test_other_values_are_found_by_their_looks(finder: Finder, text: str, found: list[object]) -> None:
    assert values(finder, text) == found


def test_patterns_find_words_and_dangerous_ones_do_no_harm() -> None:
    text = "Order (BX-1042), BX-7 and XBX-1."
    assert values(lambda t: spans.by_pattern(r"^BX-\d+$", t), text) == ["BX-1042", "BX-7"]
    assert values(lambda t: spans.by_pattern(r"^[A-Z]{3} \d+$", t), "pay EUR 500 now") == ["EUR 500"]
    assert values(lambda t: spans.by_pattern(r"BX-\d+", t), "order:BX-7, x=BX-8") == ["BX-7", "BX-8"]
    assert spans.by_pattern(r"^(a|a)+$", "a" * 199 + "b") == []
    assert spans.by_pattern("(", text) == []
    assert spans.by_pattern(r"(?=x)y", text) == []


@given(st.text(max_size=200))
def test_reading_any_text_fails_on_nothing(text: str) -> None:
    for finder in (spans.numbers, spans.dates, spans.moments, spans.emails, spans.uris, spans.identifiers, spans.quoted, spans.names):
        for span in finder(text):
            assert 0 <= span.start <= span.end <= len(text)
    facts.read(text)
    assert all(sentence.strip() for sentence in sentences(text))


@pytest.mark.parametrize(
    "hostile",
    ["a/" * 40_000, "key" + " " * 40_000 + "x", "||" + " " * 40_000 + "x", "[ " * 20_000, "1 " * 30_000, "A " * 30_000, '"' * 40_000],
)
def test_hostile_texts_are_read_in_reasonable_time(hostile: str) -> None:
    started = time.process_time()
    facts.read(hostile)
    for finder in (spans.numbers, spans.dates, spans.identifiers, spans.names, spans.emails, spans.quoted):
        finder(hostile)
    sentences(hostile)
    assert time.process_time() - started < 5


def test_passages_facts_and_tables_are_told_apart_from_the_question() -> None:
    contents = facts.read(
        "How long does it take?\n\n[a.md] Three days.\nOr four.\n[b.md] Never.\n\nOrder: BX-1\n"
        'Account: {"name": "Ann", "orders": [{"id": "BX-1", "total": 5}]}\n\n| sku | price |\n| --- | --- |\n| p1 | 3 |\n'
    )
    assert contents.passages == (Passage(text="Three days.\nOr four.", source="a.md"), Passage(text="Never.", source="b.md"))
    assert contents.rest.startswith("How long does it take?")
    assert "Three days" not in contents.rest
    assert {"sku": "p1", "price": "3"} in contents.records
    assert {"id": "BX-1", "total": 5} in contents.records
    assert ("Order", "BX-1") in {(fact.key, fact.value) for fact in contents.facts}


def test_what_retrieval_returns_is_passages_also_as_json() -> None:
    contents = facts.read('Question?\n\nPassages: [{"text": "Three days.", "source": "a.md", "score": 0.5}]')
    assert contents.passages == (Passage(text="Three days.", source="a.md"),)


def test_sentences_end_where_they_end() -> None:
    text = "Dr. Lam paid 12.50 EUR. It was fine!\n- first item\n- second item\n\nA heading\n\nLast words"
    assert sentences(text) == ["Dr. Lam paid 12.50 EUR.", "It was fine!", "- first item", "- second item", "A heading", "Last words"]


def test_a_conversation_is_read_as_instructions_examples_and_request() -> None:
    context = read_context(
        (
            system("Sort."),
            user("old question"),
            assistant('{"intent": "a"}'),
            user("another"),
            assistant("plain"),
            user("What now?"),
            assistant("Looking."),
            results(ToolResult(call_id="x", tool="t", content={"status": "shipped"})),
        )
    )
    assert context.instructions == "Sort."
    assert [(one.user, one.value) for one in context.examples] == [("old question", {"intent": "a"}), ("another", "plain")]
    assert context.request == "What now?"
    assert [(fact.key, fact.value) for fact in context.facts] == [("status", "shipped")]
    assert context.passages == (Passage(text="status shipped.", source="t"),)


def test_the_sentences_that_answer_are_quoted_with_their_sources() -> None:
    library = Library(
        (
            Passage(text="Delivery takes three days. Express costs 12 EUR.", source="shipping.md"),
            Passage(text="You may return goods within 30 days. A refund takes a week.", source="returns.md"),
        )
    )
    quotation = library.quote("How long does a refund take?")
    assert quotation.text == "A refund takes a week. [returns.md]"
    assert quotation.sources == ("returns.md",)
    assert quotation.confidence > 0.5
    nothing = library.quote("Who painted the Mona Lisa?")
    assert (nothing.text, nothing.sources, nothing.confidence) == ("", (), 0.0)
