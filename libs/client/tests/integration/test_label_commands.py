"""`plimsoll prompts versions | move | override | rollback | moves`: labels move by digest and report, and go back."""

from client_fakes import FakeGateway
from client_shell import Shell


async def test_a_label_is_moved_with_a_report_and_back(gateway: FakeGateway, plimsoll: Shell) -> None:
    gateway.versions = ["d1", "d2"]
    gateway.points_at = {"production": 1}
    assert await plimsoll("prompts", "versions", "answer", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert [(one["version"], one["digest"], one["labels"]) for one in told] == [(2, "d2", []), (1, "d1", ["production"])]
    assert await plimsoll("prompts", "move", "answer", "--to", "d2") == 4
    assert "LABEL_PROTECTED" in plimsoll.err
    assert await plimsoll("prompts", "move", "answer", "--to", "d2", "--report", "r1") == 0
    assert plimsoll.out == "answer: production points at version 2, before at 1 (report)\n"
    assert await plimsoll("prompts", "move", "answer", "--to", "d2", "--report", "r1") == 0
    assert plimsoll.out == "answer: production was there already\n"
    assert await plimsoll("prompts", "rollback", "answer", "--reason", "worse") == 0
    assert plimsoll.out == "answer: production points at version 1, before at 2 (rollback)\n"
    assert await plimsoll("prompts", "moves", "answer") == 0
    assert "console (key_1)" in plimsoll.out
    assert "worse" in plimsoll.out


async def test_an_override_needs_a_reason_and_is_among_the_moves(gateway: FakeGateway, plimsoll: Shell) -> None:
    gateway.versions = ["d1", "d2"]
    gateway.points_at = {"production": 1}
    assert await plimsoll("prompts", "override", "answer", "--to", "d2") == 2
    assert "--reason" in plimsoll.err
    assert await plimsoll("prompts", "override", "answer", "--to", "d2", "--reason", " ") == 2
    assert "INVALID_LABEL" in plimsoll.err
    assert gateway.points_at == {"production": 1}
    assert await plimsoll("prompts", "override", "answer", "--to", "d2", "--reason", "the old one insults people") == 0
    assert plimsoll.out == "answer: production points at version 2, before at 1 (override)\n"
    assert await plimsoll("prompts", "moves", "answer") == 0
    for word in ("override", "the old one insults people", "console (key_1)"):
        assert word in plimsoll.out


async def test_a_version_that_is_not_there_is_three(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("prompts", "move", "answer", "--to", "d9", "--label", "staging") == 3
    assert "ENTRY_NOT_FOUND" in plimsoll.err
    assert gateway.label_moves == []
