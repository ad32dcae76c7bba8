"""`plimsoll agents check`: graphs checked without a mesh, and told like a compiler tells it."""

import json
from pathlib import Path

import pytest
from plimsoll_client.cli.main import invoke

GOOD = """\
agent: helper
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}}}
start: a
nodes:
  a: {set: {n: state.n + 1}, next: end}
"""
BUILT = """\
from plimsoll_graph.builder import END, Agent, Node, Set

schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
agent = Agent(agent="built", input=schema, state=schema, start="a", nodes={"a": Node(Set({"n": "state.n + 1"}), next=END)})
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD)
    return path


def check(*arguments: object) -> int:
    return invoke(["agents", "check", *map(str, arguments)], {})


def test_a_good_graph_is_told_with_its_digest(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(graph) == 0
    assert capsys.readouterr().out.startswith(f"{graph}: helper is good: 1 node, digest ")


def test_a_mistake_shows_the_line_and_points_at_the_place(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.write_text(GOOD.replace("state.n", "state.m"))
    assert check(graph) == 2
    assert capsys.readouterr().out.splitlines() == [
        f"{graph}:6:22: mistake: nodes.a.set.n: state has no field 'm'",
        "     6 |   a: {set: {n: state.m + 1}, next: end}",
        "       |                      ^",
        "       = known: n",
        "1 mistake",
    ]


def test_warnings_are_told_and_stand_in_nobodys_way(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.write_text(GOOD.replace("{n: {type: integer}}}\nstart", "{n: {}}}\nstart"))
    assert check(graph) == 0
    told = capsys.readouterr().out
    assert ": warning: state.properties.n: has no schema" in told
    assert told.endswith("1 warning\n")


def test_several_files_and_folders_are_checked_at_once(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("agent: [")
    assert check(tmp_path, tmp_path / "bad.yaml", tmp_path / "none.yaml") == 2
    told = capsys.readouterr().out
    assert f"{graph}: helper is good" in told
    assert f"{tmp_path / 'bad.yaml'}:1:9: mistake: is not YAML" in told
    assert f"{tmp_path / 'none.yaml'}: does not exist" in told
    assert told.endswith("2 mistakes\n")


def test_programs_get_json(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.write_text(GOOD.replace("next: end", "next: nowhere"))
    assert check(graph, graph.parent / "none.yaml", "--json") == 2
    bad, missing = json.loads(capsys.readouterr().out)
    assert (bad["file"], bad["ok"], bad["agent"], bad["digest"], bad["warnings"]) == (str(graph), False, None, None, [])
    assert bad["mistakes"] == [
        {
            "line": 6,
            "column": 30,
            "field": "nodes.a.next",
            "problem": "names the unknown node 'nowhere'",
            "remedy": "known: a, end, join",
        }
    ]
    assert missing["mistakes"][0]["problem"] == "does not exist"
    graph.write_text(GOOD)
    assert check(graph, "--json") == 0
    [good] = json.loads(capsys.readouterr().out)
    assert (good["ok"], good["agent"], len(good["digest"])) == (True, "helper", 64)


def test_a_graph_built_in_python_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.py"
    file.write_text(BUILT)
    assert check(file) == 0
    assert f"{file}: built is good" in capsys.readouterr().out
    file.write_text(BUILT.replace("state.n", "state.m"))
    assert check(file) == 2
    told = capsys.readouterr().out
    assert "lines are those of agent.to_yaml()" in told
    assert "| " + " " * 6 + 'n: "state.m + 1"' in told


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("agent = 1", "defines no `agent`"),
        ("x = 1\nraise RuntimeError('no')", "agent.py:2: RuntimeError: no"),
        ("x = 1\ny = = 2", "agent.py:2: SyntaxError"),
        ("import sys\nsys.exit(3)", "agent.py:2: SystemExit"),
    ],
)
def test_python_that_builds_nothing_is_a_mistake_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, problem: str) -> None:
    file = tmp_path / "agent.py"
    file.write_text(code)
    assert check(file) == 2
    assert problem in capsys.readouterr().out


def test_what_a_file_says_cannot_move_the_cursor(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.write_text(GOOD.replace("next: end", 'next: "\\e[2Jgone"'))
    assert check(graph) == 2
    assert "\x1b" not in capsys.readouterr().out
