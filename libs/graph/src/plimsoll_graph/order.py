"""What a canonical form has to state because JSON objects have no order: that of parallel branches, where it decides how they are joined."""

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.graph import Merge

_DECIDES = frozenset({Merge.APPEND.value, Merge.MERGE.value})  # of the others, the order makes no difference


def stated(canonical: JsonObject) -> JsonObject:
    """The canonical form with the order of branches in it, where it decides and is not that of their names.

    A form that states it already stays as it is, and so does one without parallel nodes.
    """
    nodes = canonical.get("nodes")
    if not isinstance(nodes, dict):
        return canonical
    return {**canonical, "nodes": {name: _node(node) for name, node in nodes.items()}}


def _node(node: JsonValue) -> JsonValue:
    parallel = node.get("parallel") if isinstance(node, dict) else None
    branches = parallel.get("branches") if isinstance(parallel, dict) else None
    if not isinstance(node, dict) or not isinstance(parallel, dict) or not isinstance(branches, dict):
        return node
    given, merge = parallel.get("order"), parallel.get("merge")
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else list(branches)
    decides = isinstance(merge, dict) and any(how in _DECIDES for how in merge.values())
    if not decides or names == sorted(names):
        names = sorted(names)
    order: JsonObject = {} if names == sorted(names) else {"order": list[JsonValue](names)}
    rest = {key: value for key, value in parallel.items() if key not in {"branches", "order"}}
    return {**node, "parallel": {"branches": {name: branches[name] for name in names}, **order, **rest}}
