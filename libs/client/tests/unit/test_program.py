"""What is printed to be copied works where it is printed."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from plimsoll_client.cli.exits import explained
from plimsoll_client.cli.program import program, spelled
from plimsoll_client.errors import NoMesh
from plimsoll_client.location import data_option


def _installed(folder: Path) -> Path:
    folder.mkdir(parents=True)
    script = folder / "plimsoll"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return script


def test_it_is_the_bare_name_where_the_shell_finds_this_program_by_it(tmp_path: Path) -> None:
    script = _installed(tmp_path / "bin")
    assert program(str(script), {"PATH": str(script.parent)}) == "plimsoll"
    assert program("plimsoll", {"PATH": ""}) == "plimsoll"


@pytest.mark.parametrize("path", ["/nowhere", ""])
def test_it_is_what_was_typed_where_the_shell_does_not_know_it(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(tmp_path / ".venv" / "bin")
    monkeypatch.chdir(tmp_path)
    assert program(".venv/bin/plimsoll", {"PATH": path}) == ".venv/bin/plimsoll"


def test_another_installation_of_the_same_name_is_not_this_program(tmp_path: Path) -> None:
    mine, other = _installed(tmp_path / "mine"), _installed(tmp_path / "other")
    assert program(str(mine), {"PATH": str(other.parent)}) == str(mine)


def test_a_path_with_blanks_is_quoted(tmp_path: Path) -> None:
    script = _installed(tmp_path / "my tools")
    assert program(str(script), {}) == f"'{script}'"


def test_a_program_that_only_uses_the_client_says_plimsoll() -> None:
    assert program("/usr/bin/pytest", {}) == "plimsoll"


def test_commands_in_a_message_are_spelled_as_the_user_types_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/plimsoll", "runs", "list"])
    monkeypatch.setitem(os.environ, "PATH", "")
    told = [spelled(line) for line in explained(NoMesh("no mesh runs: plimsoll is down", remedy="Start one with `plimsoll up`"))]
    assert told == ["no mesh runs: plimsoll is down", "Start one with `.venv/bin/plimsoll up`"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PLIMSOLL_DATA_DIR": "/data"}, ""),
        ({}, " --data /data"),
        ({"PLIMSOLL_DATA_DIR": "/data", "PLIMSOLL_ADDRESS": "mesh.example:443"}, " --data /data"),
    ],
)
def test_a_command_names_the_data_directory_only_where_it_is_not_found_anyway(environ: Mapping[str, str], expected: str) -> None:
    assert data_option(Path("/data"), environ, cwd=Path("/nowhere"), home=Path("/home/me")) == expected
