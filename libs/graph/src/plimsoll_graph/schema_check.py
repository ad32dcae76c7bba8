"""The schemas of a graph: each well-formed, and the state's such that what is saved is known."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject

from plimsoll_graph.graph import AgentNode, Graph, MapNode, ModelNode
from plimsoll_graph.schemas import schema_faults
from plimsoll_graph.yaml_source import Mistake, Path, Source


def schema_mistakes(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Every mistake in a schema, at its line."""
    for path, schema in _schemas(graph):
        for fault in schema_faults(schema):
            yield source.mistake((*path, *fault.path), fault.problem, fault.remedy)


def schema_warnings(graph: Graph, source: Source) -> Iterator[Mistake]:
    """A state without declared fields takes whatever is saved, whatever its type."""
    declared = graph.state_schema.get("properties")
    if not isinstance(declared, dict):
        yield source.mistake(
            ("state",), "declares no fields, so nothing that is saved is checked", "write `properties:` with a schema for each"
        )
        return
    for name, schema in declared.items():
        if schema is True or schema == {}:
            yield source.mistake(("state", "properties", name), "has no schema, so nothing that is saved is checked", "give it a `type`")


def _schemas(graph: Graph) -> Iterator[tuple[Path, JsonObject]]:
    yield ("input",), graph.input_schema
    yield ("state",), graph.state_schema
    for node in graph.nodes.values():
        match node.kind:
            case ModelNode(output=dict() as output) | AgentNode(output=dict() as output):
                yield ("nodes", node.name, node.kind_name, "output"), output
            case MapNode(body=ModelNode(output=dict() as output)):
                yield ("nodes", node.name, "map", "do", "model", "output"), output
