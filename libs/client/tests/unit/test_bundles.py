"""Reading an agent's directory: everything that is there, or every mistake at once with its file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client.bundles import find_bundles, read_bundles
from plimsoll_client.bundles.prompts import read_prompt
from plimsoll_client.bundles.yaml_text import NotReadable, parse_yaml
from plimsoll_client.errors import BadBundle
from plimsoll_client.models import Example

PROMPT = """\
prompt: support-classify
description: Sorts messages
variables: [message, tone]
system: |
  Be {{ tone }}.
examples:
  - {user: "hi", assistant: "greeting"}
  - user: refund!
    assistant: {intent: refund, urgent: true}
user: |
  {{message}}
labels: [production, candidate]
"""


def _bundle(folder: Path, *, graph: str = "agent: helper\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "agent.yaml").write_text(graph)
    return folder


def _problems(folder: Path) -> list[str]:
    with pytest.raises(BadBundle) as caught:
        read_bundles(folder)
    return [f"{Path(p.field).name}: {p.problem}" for p in caught.value.problems]


def test_a_bundle_is_read_whole(tmp_path: Path) -> None:
    _bundle(tmp_path)
    for folder in ("prompts", "knowledge/help/deep", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "prompts/classify.yaml").write_text(PROMPT)
    (tmp_path / "knowledge/help/deep/a.md").write_text("# A")
    (tmp_path / "knowledge/help/.DS_Store").write_bytes(b"\0")
    [bundle] = read_bundles(tmp_path)
    [prompt], [document] = bundle.prompts, bundle.knowledge
    assert (bundle.agent, bundle.graph) == ("helper", "agent: helper\n")
    assert (document.collection, document.source, document.media_type) == ("help", "deep/a.md", "text/markdown")
    assert prompt.labels == ("production", "candidate")
    assert prompt.draft.variables == ("message", "tone")
    assert prompt.draft.examples == (
        Example(user="hi", assistant="greeting"),
        Example(user="refund!", assistant={"intent": "refund", "urgent": True}),
    )


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    _bundle(tmp_path, graph="description: no name\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/a.yaml").write_text("prompt: Bad Name\nvariables: [x, x, 3]\nuser: '{{y}}'\ncolour: red\n")
    (tmp_path / "prompts/b.yaml").write_text("prompt: ok\nuser: [1\n")
    (tmp_path / "knowledge/help").mkdir(parents=True)
    (tmp_path / "knowledge/loose.md").write_text("x")
    (tmp_path / "knowledge/help/a.docx").write_text("x")
    (tmp_path / "knowledge/help/b.md").write_text("")
    assert _problems(tmp_path) == [
        "agent.yaml:1: has no agent",
        "a.yaml:4: has an unknown field colour",
        "a.yaml:1: has prompt 'Bad Name', which is not a name",
        "a.yaml:2: has x in variables twice",
        "a.yaml:2: has 3 in variables, which is not a name",
        "a.yaml:3: uses {{y}} in user and does not declare it",
        "a.yaml:2: declares x and does not use it",
        "b.yaml:3: is not YAML: expected ',' or ']', but got '<stream end>' (column 1)",
        "a.docx: has the ending .docx, which is not known",
        "b.md: is empty",
        "loose.md: is in no collection",
    ]


def test_every_mistake_has_a_remedy_or_a_place(tmp_path: Path) -> None:
    _bundle(tmp_path, graph="agent: Wrong\n")
    with pytest.raises(BadBundle, match="1 mistake, nothing was applied") as caught:
        read_bundles(tmp_path)
    assert "small letters" in caught.value.problems[0].remedy


def test_a_folder_of_bundles_is_read_in_order_and_names_must_differ(tmp_path: Path) -> None:
    _bundle(tmp_path / "b", graph="agent: beta\n")
    _bundle(tmp_path / "a", graph="agent: alpha\n")
    (tmp_path / "notes").mkdir()
    assert [bundle.agent for bundle in read_bundles(tmp_path)] == ["alpha", "beta"]
    _bundle(tmp_path / "c", graph="agent: beta\n")
    assert _problems(tmp_path) == ["agent.yaml: names agent beta, as another folder does"] * 2


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_agents_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadBundle, match="1 mistake") as caught:
        find_bundles(tmp_path / name)
    assert "agent.yaml" in caught.value.problems[0].remedy


def test_two_files_cannot_register_one_prompt(tmp_path: Path) -> None:
    _bundle(tmp_path)
    (tmp_path / "prompts").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"prompts/{name}.yaml").write_text("prompt: same\nuser: hello\n")
    assert _problems(tmp_path) == ["b.yaml:1: registers prompt same, as another file does"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "has a twice"),
        ("a: 1\nwhen: 2026-03-01\n", 2, "reads as a date"),
        ("a: .nan\n", 1, "reads as a float"),
        ("- a\n", 1, "not a mapping"),
        ("", 1, "not a mapping"),
        ("a: !!python/object:os.system x\n", 1, "cannot be read"),
        ("{a: b}: c\n", 1, "key that is not a word"),
        ("a: 'x\n", 2, "is not YAML"),
    ],
)
def test_what_json_has_no_room_for_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(NotReadable) as caught:
        parse_yaml(text)
    assert caught.value.mistake.line == line
    assert problem in caught.value.mistake.problem


def test_keys_are_words_as_they_are_written() -> None:
    document = parse_yaml("retry:\n  on: [timeout]\n  no: 1\n  1: x\n")
    assert document.value == {"retry": {"on": ["timeout"], "no": 1, "1": "x"}}
    assert document.line("retry", "no") == 3
    assert document.line("retry", "none") == 1


def test_aliases_cannot_blow_up_a_small_text() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(NotReadable, match="more than"):
        parse_yaml("\n".join(lines))


@given(st.text())
def test_any_text_is_read_as_a_prompt_or_told_what_is_wrong(text: str) -> None:
    prompt, mistakes = read_prompt(text)
    assert (prompt is None) == bool(mistakes)
