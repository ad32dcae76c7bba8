"""What graphs name and a mesh does not have: told when they are applied, because a run would find out only when it gets there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from plimsoll_runtime.errors import PlimsollError

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

_REMEDIES = {
    "tool": "`plimsoll tools list` shows those that there are; `plimsoll up --agents DIR` brings those of DIR",
    "prompt": "`plimsoll prompts list` shows those that there are",
    "collection": "ingest something into it; until then nothing is found",
}


async def missing(mesh: "Mesh", sources: Iterable[str]) -> list[str]:
    """A warning for each thing that the graphs name and that is not there. Empty when the mesh does not tell what it has."""
    from plimsoll_graph.check import check  # noqa: PLC0415 - the expression engine takes a while to load, which only this should pay
    from plimsoll_graph.references import references  # noqa: PLC0415 - as above

    try:
        known = {
            "tool": {tool.name for tool in await mesh.tools.list()},
            "prompt": {prompt.name for prompt in await mesh.prompts.list()},
            "collection": {collection.name for collection in await mesh.memory.collections()},
        }
    except PlimsollError:  # such as a key that may not list them: what was applied is applied
        return []
    graphs = [graph for graph in (check(source, "").graph for source in sources) if graph is not None]
    return list(
        dict.fromkeys(
            f"{graph.agent}: node {one.node} names the {one.noun} {one.name}, which this mesh does not have ({_REMEDIES[one.noun]})"
            for graph in graphs
            for one in references(graph)
            if not one.is_among(known[one.noun])
        )
    )
