"""The samples fit the agents they are for, and the worlds they speak of are consistent."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import pypdf
import pytest

AGENTS = Path(__file__).parents[1]
MESSAGES = [json.loads(line) for line in (AGENTS / "support/samples/messages.jsonl").read_text().splitlines()]
DOCUMENTS = sorted((AGENTS / "documents/samples").iterdir())
TABLES = sorted((AGENTS / "pipeline/samples").glob("*.csv"))
ARTICLES = {path.name: path.read_text() for path in (AGENTS / "support/knowledge/help").glob("*.md")}
SEED = (AGENTS / "support/tools/shop_seed.sql").read_text()


def test_there_are_at_least_forty_different_messages():
    assert len({message["id"] for message in MESSAGES}) == len(MESSAGES) >= 40
    assert len({message["input"]["message"] for message in MESSAGES}) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: str(message["id"]))
def test_a_message_fits_the_input_and_expects_what_the_agent_can_say(message: dict[str, Any], open_bundle: Callable[[str], Any]):
    support = open_bundle("support")
    assert jsonschema_rs.validator_for(support.graph["input"], validate_formats=True).is_valid(message["input"])
    expected = message["expect"]
    choices = support.nodes["classify"]["model"]["output"]["properties"]
    assert expected["intent"] in {option["const"] for option in choices["intent"]["oneOf"]}
    assert expected.get("urgency", "low") in {option["const"] for option in choices["urgency"]["oneOf"]}
    assert expected.get("outcome", "answered") in support.graph["state"]["properties"]["outcome"]["enum"]
    assert set(expected.get("sources", [])) <= set(ARTICLES)


def test_messages_cover_every_intent(open_bundle: Callable[[str], Any]):
    choices = open_bundle("support").nodes["classify"]["model"]["output"]["properties"]["intent"]["oneOf"]
    assert {option["const"] for option in choices} == {message["expect"]["intent"] for message in MESSAGES}


def test_orders_and_customers_of_the_messages_are_in_the_shop_unless_they_are_to_be_unknown():
    for message in MESSAGES:
        for identifier in re.findall(r"(?:ORD-\d{5}|CUS-\d{4})", message["input"]["message"]):
            assert (f"'{identifier}'" in SEED) == (message["expect"].get("outcome") != "needs_customer"), identifier
        sender = message["input"].get("sender")
        assert sender is None or f"'{sender}'" in SEED


def test_the_shop_has_forty_customers_and_orders_that_fit_together():
    customers = set(re.findall(r"^  \('(CUS-\d{4})', '", SEED, re.MULTILINE))
    orders = dict(re.findall(r"^  \('(ORD-\d{5})', '(CUS-\d{4})'", SEED, re.MULTILINE))
    lines = set(re.findall(r"^  \('(ORD-\d{5})', \d+, '", SEED, re.MULTILINE))
    assert len(customers) >= 40
    assert len(orders) >= 40
    assert set(orders.values()) <= customers
    assert set(orders) == lines


def test_prices_in_the_articles_are_those_of_the_shop():
    prices: dict[str, set[int]] = {}
    for name, cents in re.findall(r"^  \('ORD-\d{5}', \d+, '[A-Z0-9-]+', '([^']+)', \d+, (\d+),", SEED, re.MULTILINE):
        prices.setdefault(name, set()).add(int(cents))
    assert all(len(found) == 1 for found in prices.values())
    text = "\n".join(ARTICLES.values())
    told = {name: re.findall(rf"{re.escape(name)}s? \(\$(\d+)\)", text) for name in prices}
    assert sum(bool(found) for found in told.values()) >= 4
    for name, found in told.items():
        assert {int(dollars) * 100 for dollars in found} <= prices[name], name


def test_the_articles_and_the_refund_tools_have_the_same_rules(
    handlers: Callable[[str, str], ModuleType], open_bundle: Callable[[str], Any]
):
    shop, tools = handlers("support", "shop"), open_bundle("support").tools
    small = tools["issue_refund"]["arguments"]["properties"]["amount_cents"]
    large = tools["issue_large_refund"]["arguments"]["properties"]["amount_cents"]
    assert small["maximum"] + 1 == large["minimum"]
    assert f"Refunds of up to {shop.dollars(small['maximum'])} are made at once" in ARTICLES["refunds.md"]
    assert f"less {shop.dollars(shop.LABEL_CENTS)} for the return label" in ARTICLES["refunds.md"]
    assert f"within {shop.DAMAGE_DAYS} days of delivery" in ARTICLES["damaged-or-wrong-items.md"]
    assert f"no scan for {shop.QUIET_BUSINESS_DAYS} business days" in ARTICLES["tracking-and-lost-parcels.md"]
    assert f"without a scan for {shop.LOST_BUSINESS_DAYS} business days" in ARTICLES["tracking-and-lost-parcels.md"]


def test_there_are_at_least_fifteen_articles_each_with_a_title_of_its_own():
    titles = {text.split("\n", 1)[0] for text in ARTICLES.values()}
    assert len(titles) == len(ARTICLES) >= 15
    assert all(title.startswith("# ") for title in titles)


def test_there_are_at_least_ten_documents_with_a_pdf_and_a_long_one():
    assert len(DOCUMENTS) >= 10
    assert {path.suffix for path in DOCUMENTS} == {".md", ".txt", ".pdf"}
    assert max(path.stat().st_size for path in DOCUMENTS if path.suffix != ".pdf") > 15_000
    assert all(pypdf.PdfReader(path).pages for path in DOCUMENTS if path.suffix == ".pdf")


def document(path: Path) -> dict[str, str | None]:
    encoded = base64.b64encode(path.read_bytes()).decode() if path.suffix == ".pdf" else None
    return {"name": path.name, "text": None if encoded else path.read_text(), "content_base64": encoded}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.name))
async def test_a_document_can_be_split(path: Path, handlers: Callable[[str, str], ModuleType], open_bundle: Callable[[str], Any]):
    reading = handlers("documents", "reading")
    tool = open_bundle("documents").tools["split_document"]
    arguments = document(path)
    assert jsonschema_rs.validator_for(tool["arguments"]).is_valid(arguments)
    result = await reading.split_document(arguments, None)
    assert jsonschema_rs.validator_for(tool["result"]).is_valid(result)
    assert result["format"] == {".md": "markdown", ".txt": "text", ".pdf": "pdf"}[path.suffix]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.name))
def test_a_table_has_many_rows_and_many_kinds_of_dirt(
    path: Path, handlers: Callable[[str, str], ModuleType], open_bundle: Callable[[str], Any]
):
    profiling = handlers("pipeline", "profiling")
    assert jsonschema_rs.validator_for(open_bundle("pipeline").graph["input"]).is_valid({"csv": path.read_text(), "name": path.name})
    table = profiling.parse_table(path.read_text())
    kinds = {finding.kind for finding in profiling.find(table, profiling.profile(table), {})}
    assert len(table.rows) >= 120
    assert len(kinds) >= 10


def test_there_are_two_tables():
    assert len(TABLES) == 2
