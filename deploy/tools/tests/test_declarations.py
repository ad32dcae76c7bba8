"""What the tools on board promise."""

from pathlib import Path

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.source_declaration import parse_source
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool

FOLDER = Path(__file__).parents[1]


def test_every_file_is_declared_without_a_mistake(tools: dict[str, Tool]) -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {tool.category for tool in tools.values()}
    assert len(tools) == 16


def test_what_writes_elsewhere_or_cannot_be_undone_waits_for_a_person(tools: dict[str, Tool]) -> None:
    assert {name for name, tool in tools.items() if tool.risk is Risk.HIGH} == {"sql_write", "mail_send", "file_delete"}


def test_what_may_not_be_repeated_says_so(tools: dict[str, Tool]) -> None:
    assert {name for name, tool in tools.items() if tool.effect is EffectClass.NON_IDEMPOTENT} == {"sql_write", "mail_send"}


def test_what_leaves_the_tenant_or_brings_in_what_others_wrote_is_labelled(tools: dict[str, Tool]) -> None:
    assert {name for name, tool in tools.items() if "leaves:tenant" in tool.labels} == {"web_fetch", "mail_send"}
    assert {"web_fetch", "file_read", "sheet_read", "sql_query"} <= {
        name for name, tool in tools.items() if "reads:untrusted" in tool.labels
    }


def test_the_sources_on_board_are_declared_without_a_mistake() -> None:
    for path in FOLDER.glob("sources/*.yaml"):
        source, problems = parse_source(path.read_text(), stem=path.stem)
        assert source is not None, problems
