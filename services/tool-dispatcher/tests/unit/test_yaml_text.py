"""YAML as JSON values."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.domain.yaml_text import UnreadableYaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1", {"a": 1}),
        ("[~, null, '', true, false, 'true']", [None, None, "", True, False, "true"]),
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[1, -1, 1.5, 1e3, 0]", [1, -1, 1.5, 1000.0, 0]),
        ("[010, 1_000, 0x1f, 12:30:00, 1., .5, +1]", ["010", "1_000", "0x1f", "12:30:00", "1.", ".5", "+1"]),
        ("[2026-01-01, .nan, .inf]", ["2026-01-01", ".nan", ".inf"]),
        ("{1: one, true: two}", {"1": "one", "true": "two"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_only_what_json_has_is_understood(text: str, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("a: 1\nb: {", "line 2", "is not YAML"),
        ("a: 1\na: 2", "line 2, column 1", "a second time"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4", "cannot travel as JSON"),
        ("a: !secret x", "line 1, column 4", "cannot travel as JSON"),
        ("a: !!binary aGk=", "line 1, column 4", "cannot travel as JSON"),
        ("a: 99999999999999999999999", "line 1, column 4", "cannot travel as JSON"),
        ('a: "\\ud800"', "line 1, column 4", "cannot travel as JSON"),
        ('"\\ud800": 1', "line 1, column 1", "not text"),
        ("a: 1e999", "line 1, column 4", "cannot travel as JSON"),
        ("? [1]\n: 2", "line 1, column 3", "not text"),
        ("a: &x [*x]", "line 1, column 4", "contains itself"),
        ("---\na: 1\n---\nb: 2", "line 3", "is not YAML"),
        ("a: \x00", "file", "is not YAML"),
        ("a" * 300_000, "file", "longer than"),
        ("a: " + "[" * 5000, "file", "brackets inside each other"),
        ("- " * 5000, "file", "is not YAML"),
        ("a: !!map [1]", "line 1", "cannot travel as JSON"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, where: str, problem: str) -> None:
    with pytest.raises(UnreadableYaml) as caught:
        read_yaml(text)
    assert caught.value.problem.field.startswith(where)
    assert problem in caught.value.problem.problem
    assert caught.value.problem.remedy


def test_aliases_do_not_grow_without_bound() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(UnreadableYaml, match="grows to more than"):
        read_yaml("\n".join(lines))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UnreadableYaml):
        read_yaml(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(blacklist_categories=["Cs", "Cc"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef ", min_size=1), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_another_writer_wrote_is_read_back(value: object) -> None:
    assert read_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
