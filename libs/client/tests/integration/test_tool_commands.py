"""`plimsoll tools register | versions | disable | enable | pin | unpin | accept | unregister`, as people use them."""

from pathlib import Path

from client_fakes import FakeGateway
from client_shell import Shell

FILE = """
category: money
tools:
  - {name: rates, version: "1", source: {kind: http, source: bank, tool: getRates}}
"""


async def test_tools_of_a_file_are_registered_with_what_it_says_beside_them(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(FILE)
    assert await plimsoll("tools", "register", str(tmp_path / "rates.yaml")) == 0
    assert gateway.tools["rates"].category == "money"
    assert plimsoll.out.startswith("rates is registered, ")
    assert "tools[0].source.tool is not offered now" in plimsoll.err


async def test_what_was_decided_about_one_thing_stays_when_another_is_decided(
    gateway: FakeGateway, plimsoll: Shell, tmp_path: Path
) -> None:
    (tmp_path / "rates.yaml").write_text(FILE)
    assert await plimsoll("tools", "register", str(tmp_path / "rates.yaml")) == 0
    digest = gateway.tools["rates"].digest
    for words in (("pin", "rates", digest), ("disable", "rates"), ("accept", "rates", digest)):
        assert await plimsoll("tools", *words) == 0
    decided = gateway.standings["rates"]
    assert (decided.disabled, decided.pinned_digest, decided.accepted_digest) == (True, digest, digest)
    assert await plimsoll("tools", "versions", "rates") == 0
    assert "pinned, accepted" in plimsoll.out
    assert "rates is disabled" in plimsoll.out
    for words in (("enable", "rates"), ("unpin", "rates")):
        assert await plimsoll("tools", *words) == 0
    decided = gateway.standings["rates"]
    assert (decided.disabled, decided.pinned_digest, decided.accepted_digest) == (False, "", digest)


async def test_a_tool_is_taken_away_once(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(FILE)
    assert await plimsoll("tools", "register", str(tmp_path / "rates.yaml")) == 0
    assert await plimsoll("tools", "unregister", "rates") == 0
    assert gateway.tools == {}
    assert await plimsoll("tools", "unregister", "rates") == 3
    assert "TOOL_NOT_FOUND" in plimsoll.err


async def test_a_file_that_lists_no_tools_is_told_before_anything_is_sent(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    for text, told in (("tools: []", "lists no tools"), ("tools: [1]", "lists no tools"), ("- {", "line"), ("a: [", "line")):
        (tmp_path / "bad.yaml").write_text(text)
        assert await plimsoll("tools", "register", str(tmp_path / "bad.yaml")) == 2
        assert told in plimsoll.err
    assert await plimsoll("tools", "register", str(tmp_path / "none.yaml")) == 2
    assert gateway.tools == {}
