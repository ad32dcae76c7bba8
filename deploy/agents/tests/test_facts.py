"""Only what the text says counts, and everything counts once."""

from collections.abc import Callable
from datetime import date
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

RENT = {
    "number": 1,
    "heading": "Rent",
    "text": "Petra Lam shall pay EUR 480.00 by the 3rd of each month, first on 1 May 2026. See order PO-1077.\nLate rent costs €5.",
}
VAN = {"number": 2, "heading": "Van", "text": "It was decided on May 1st, 2026 to buy the van of Norden Auto for EUR 480."}


@pytest.fixture(scope="session")
def facts(handlers: Callable[[str, str], ModuleType]) -> ModuleType:
    return handlers("documents", "facts")


async def check(facts: ModuleType, *extracts: dict[str, Any] | None) -> Any:
    return await facts.check_facts({"sections": [RENT, VAN][: len(extracts)], "extracts": list(extracts)}, None)


async def test_what_the_section_says_is_kept_and_the_rest_is_dropped_with_the_reason(facts: ModuleType):
    result = await check(
        facts,
        {
            "role": "obligation",
            "main_point": "Petra Lam shall pay EUR 480.00 by the 3rd of each month, first on 1 May 2026.",
            "duties": ["Jonas Roth shall pay the gas."],
            "parties": [{"name": "Petra Lam"}, {"name": "Norden Auto"}, {"name": "Late rent costs"}],
            "dates": ["2026-05-01", "2026-05-03"],
            "amounts": ["EUR 480.00", "EUR 481.00"],
            "codes": ["PO-1077", "PO-9999"],
        },
    )
    kept = {(fact["field"], fact["value"]) for fact in result["facts"] if fact["by"] == "model"}
    dropped = {(value["value"], value["why"]) for value in result["dropped"]}
    assert kept == {
        ("main_point", "Petra Lam shall pay EUR 480.00 by the 3rd of each month, first on 1 May 2026."),
        ("party", "Petra Lam"),
        ("date", "2026-05-01"),
        ("amount", "EUR 480.00"),
        ("code", "PO-1077"),
    }
    assert dropped == {
        ("Jonas Roth shall pay the gas.", "not_in_text"),
        ("Norden Auto", "not_in_text"),
        ("Late rent costs", "not_a_name"),
        ("2026-05-03", "not_in_text"),
        ("EUR 481.00", "not_in_text"),
        ("PO-9999", "not_in_text"),
    }
    assert result["checked"] == len(kept) + len(dropped)


async def test_what_the_model_overlooked_is_added_as_found_by_pattern(facts: ModuleType):
    result = await check(facts, {"main_point": "Late rent costs €5."})
    added = {(fact["field"], fact["value"]) for fact in result["facts"] if fact["by"] == "pattern"}
    assert added == {("amount", "EUR 480.00"), ("amount", "€5"), ("date", "2026-05-01"), ("code", "PO-1077")}


async def test_a_section_that_could_not_be_read_is_named_and_its_patterns_still_count(facts: ModuleType):
    result = await check(facts, None, {"main_point": "It was decided on May 1st, 2026 to buy the van"})
    assert result["unread"] == [1]
    assert ("code", "PO-1077") in {(fact["field"], fact["value"]) for fact in result["facts"]}


async def test_merging_tells_each_value_once_with_all_its_sections(facts: ModuleType, open_bundle: Callable[[str], Any]):
    checked = await check(facts, {"main_point": "Late rent costs €5.", "duties": ["Late rent costs €5."]}, {})
    merged = await facts.merge_facts({"sections": [RENT, VAN], "facts": checked["facts"]}, None)
    values = {(value["field"], value["value"]): value["sections"] for value in merged["values"]}
    assert values["amount", "EUR 480.00"] == [1, 2]
    assert values["date", "2026-05-01"] == [1, 2]
    assert merged["sentences"] == [{"source": "section 1, Rent", "text": "Late rent costs €5.", "field": "main_point"}]
    tools = open_bundle("documents").tools
    assert jsonschema_rs.validator_for(tools["check_facts"]["result"]).is_valid(checked)
    assert jsonschema_rs.validator_for(tools["merge_facts"]["result"]).is_valid(merged)


@given(
    day=st.dates(date(1990, 1, 1), date(2090, 12, 31)), form=st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d.%m.%Y", "%d/%m/%Y"])
)
def test_a_day_is_recognised_in_every_usual_notation(facts: ModuleType, day: date, form: str):
    assert day in set(facts.dates_in(f"due on {day.strftime(form)}, not later"))


@given(cents=st.integers(0, 10**9), sign=st.sampled_from([("$", "USD"), ("€", "EUR"), ("£", "GBP")]))
def test_an_amount_is_the_same_however_it_is_written(facts: ModuleType, cents: int, sign: tuple[str, str]):
    plain = f"{sign[1]} {cents / 100:.2f}"
    assert facts.amount_key(plain) == facts.amount_key(f"{sign[0]}{cents / 100:,.2f}")


@given(words=st.lists(st.sampled_from(["the", "gutter", "must", "be", "mended", "Soon,"]), min_size=1, max_size=40), cut=st.data())
def test_a_text_says_every_piece_of_itself_whatever_its_white_space(facts: ModuleType, words: list[str], cut: st.DataObject):
    start = cut.draw(st.integers(0, len(words) - 1))
    end = cut.draw(st.integers(start + 1, len(words)))
    assert facts.says("\n".join(words), "  ".join(words[start:end]))


def test_a_text_does_not_say_what_was_made_up(facts: ModuleType):
    text = "The railing must be fastened by 15 May 2026 at the latest."
    assert not facts.says(text, "The bridge must be closed by 15 June 2026.")
    assert not facts.says(text, "...")


def test_a_long_document_gives_every_section_its_say(facts: ModuleType):
    sentences = [
        facts.Sentence(source=f"section {section}", text=f"{section}.{place}", field="main_point", place=place)
        for section in range(30)
        for place in range(3)
    ]
    chosen = facts.fairly(sentences, 40)
    assert len(chosen) == 40
    assert {one.source for one in chosen} == {f"section {section}" for section in range(30)}
    assert chosen == [one for one in sentences if one in chosen]
