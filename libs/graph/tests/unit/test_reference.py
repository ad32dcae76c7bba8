"""The reference of the graph language: its examples are right, and nothing of the language is missing in it."""

import dataclasses
import re
from pathlib import Path

import pytest
from plimsoll_graph import builder
from plimsoll_graph.builder import Agent
from plimsoll_graph.check import check
from plimsoll_graph.graph import KIND_NAMES, Graph, Node
from plimsoll_graph.kinds import KINDS
from plimsoll_graph.parse import parse_graph
from plimsoll_runtime.failures import Category

REFERENCE = Path(__file__).parents[4] / "services" / "orchestrator" / "GRAPH.md"
TEXT = REFERENCE.read_text()
EXAMPLES = {re.findall(r"^agent: (\S+)", text)[0]: text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)}


@pytest.mark.parametrize("agent", EXAMPLES)
def test_an_example_has_no_mistakes(agent: str) -> None:
    found = check(EXAMPLES[agent], f"{agent}.yaml")
    assert (found.mistakes, [warning for warning in found.warnings if "has no schema" not in warning.problem]) == ((), [])


def test_the_examples_show_every_kind_and_every_common_field() -> None:
    graphs = [parse_graph(text, "x.yaml") for text in EXAMPLES.values()]
    shown = {type(node.kind) for graph in graphs for node in graph.nodes.values()}
    assert shown == set(KIND_NAMES)
    declared = {field for text in EXAMPLES.values() for field in re.findall(r"\b(\w+):", text)}
    assert declared >= set(KINDS)
    assert declared >= {field.name.removesuffix("_s") for field in dataclasses.fields(Node)} - {"name", "kind"}
    assert {field.name for field in dataclasses.fields(Graph)} - {"input_schema", "state_schema", "canonical"} <= set(
        re.findall(r"\w+", TEXT)
    )


def test_every_category_is_named() -> None:
    assert [category for category in Category if f"`{category}`" not in TEXT] == []


def test_the_python_example_builds_the_example_beside_it() -> None:
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "GRAPH.md", "exec"), names)
    agent = names["agent"]
    assert isinstance(agent, Agent)
    assert agent.graph().digest == parse_graph(EXAMPLES["kind-decide"], "x.yaml").digest


def test_the_builder_has_a_class_for_every_kind() -> None:
    kinds = {getattr(member, "kind", "") for name in builder.__all__ if isinstance(member := getattr(builder, name), type)}
    assert {kind for kind in kinds if isinstance(kind, str)} >= set(KINDS)
