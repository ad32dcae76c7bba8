"""What a graph refers to outside of itself: tools, prompts and collections, by the node that names them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from plimsoll_graph.graph import AgentNode, Graph, Kind, MapNode, ModelNode, RememberNode, RetrieveNode, ToolNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`noun` is tool, prompt or collection. A tool's name may end with `*`: all whose names begin so."""

    node: str
    noun: str
    name: str

    def is_among(self, known: Collection[str]) -> bool:
        """Whether there is such a thing."""
        if self.noun == "tool" and self.name.endswith("*"):
            return any(name.startswith(self.name[:-1]) for name in known)
        return self.name in known


def references(graph: Graph) -> Iterator[Reference]:
    """Everything that the graph's nodes name, in their order."""
    for node in graph.nodes.values():
        kinds = (node.kind, node.kind.body) if isinstance(node.kind, MapNode) else (node.kind,)
        for noun, name in (found for kind in (*kinds, *([node.undo] if node.undo else [])) for found in _named(kind)):
            yield Reference(node=node.name, noun=noun, name=name)


def _named(kind: Kind) -> Iterator[tuple[str, str]]:
    match kind:
        case ToolNode(tool=tool):
            yield "tool", tool
        case ModelNode(prompt=prompt):
            yield "prompt", prompt.name
        case AgentNode(prompt=prompt, tools=tools):
            yield "prompt", prompt.name
            for tool in tools:
                yield "tool", tool
        case RetrieveNode(collection=collection) | RememberNode(collection=collection) if collection:
            yield "collection", collection
        case _:
            pass
