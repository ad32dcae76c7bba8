"""From the text of a graph to a Graph, or to every mistake in it, each with its line."""

from plimsoll_runtime.json_types import JsonObject

from plimsoll_graph.check import check
from plimsoll_graph.declaration import read_graph
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import Graph
from plimsoll_graph.yaml_source import Source


def parse_graph(text: str, source_name: str) -> Graph:
    """Read and check a graph from YAML or JSON text. Raises InvalidGraph with every mistake."""
    checked = check(text, source_name)
    if checked.graph is None:
        problems = [mistake.field_problem for mistake in checked.mistakes]
        raise InvalidGraph(problems=problems, remedy="mend the mistakes and register again")
    return checked.graph


def load_graph(canonical: JsonObject) -> Graph:
    """A graph that was registered, from its canonical form. Its meaning is not checked again: it outlives rules that came after it.

    Raises InvalidGraph when a field cannot be read.
    """
    graph, mistakes = read_graph(Source("graph", canonical))
    if mistakes:
        raise InvalidGraph(problems=[mistake.field_problem for mistake in mistakes])
    return graph
