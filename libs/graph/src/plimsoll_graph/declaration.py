"""Reading what a graph declares, field by field: its form, not yet its meaning."""

from collections.abc import Mapping

from plimsoll_runtime.failures import Category

from plimsoll_graph.graph import (
    ANY,
    END,
    FAIL,
    JOIN,
    ApproveNode,
    Budget,
    Concurrency,
    FileMapping,
    Graph,
    Kind,
    MapNode,
    Node,
    ParallelNode,
    RetryPolicy,
    SetNode,
    SignalNode,
    SubgraphNode,
    TimerNode,
)
from plimsoll_graph.kinds import KINDS, read_tool
from plimsoll_graph.reader import NAME, NODE_NAME, Reader, shown
from plimsoll_graph.yaml_source import Mistake, Source

_DEFAULT_TIMEOUT_S = 120.0
_DEFAULT_STEPS = 1000
_NODES_MOST = 1000
_RESERVED = (END, JOIN, FAIL)
# Fields of nodes that would do nothing on these kinds.
_MEANINGLESS: Mapping[str, tuple[str, ...]] = {
    "decide": ("next", "save", "ensure", "retry"),
    "handle": ("next", "save", "ensure", "retry"),
    "set": ("save", "retry"),
    "wait": ("timeout",),
    "approve": ("timeout",),
}
_INSTEAD: Mapping[str, str] = {"wait": "a wait for a signal ends by `expires`", "approve": "a question ends by `expires`"}


def read_graph(source: Source) -> tuple[Graph, list[Mistake]]:
    """A graph field by field, and what is wrong with its form. What it means, and where its edges lead, is not looked at."""
    mistakes = list(source.mistakes)
    reader = Reader.at(source, (), source.value, mistakes)
    graph = _graph(reader)
    return graph, mistakes


def _graph(reader: Reader) -> Graph:
    nodes_reader = reader.reader("nodes")
    nodes = {name: _node(nodes_reader, name) for name in nodes_reader.value}
    if isinstance(reader.value.get("nodes"), dict) and not 0 < len(nodes) <= _NODES_MOST:
        reader.note("nodes", f"has {len(nodes)} entries", f"declare from 1 to {_NODES_MOST} nodes")
    budget = reader.reader("budget") if reader.has("budget") else None
    accepts = reader.reader("accepts") if reader.has("accepts") else None
    graph = Graph(
        agent=reader.text("agent", pattern=NAME),
        description=reader.text("description", default=""),
        input_schema=reader.object_schema("input"),
        state_schema=reader.object_schema("state"),
        start=reader.text("start"),
        nodes=nodes,
        output=reader.templates("output"),
        budget=_budget(budget) if budget else Budget(steps=_DEFAULT_STEPS),
        accepts=_accepts(accepts) if accepts else FileMapping(),
        keep=reader.words("keep"),
        concurrency=_concurrency(reader.reader("concurrency")) if reader.has("concurrency") else None,
        on_failure=_on_failure(reader.reader("on_failure")) if reader.has("on_failure") else {},
        canonical=reader.value,
    )
    reader.finish()
    return graph


def _budget(reader: Reader) -> Budget:
    most = 2**53
    budget = Budget(
        steps=reader.whole("steps", default=_DEFAULT_STEPS, least=1, most=1_000_000),
        tokens=reader.whole("tokens", default=0, least=0, most=most),
        cost_micros=reader.whole("cost_micros", default=0, least=0, most=most),
        seconds=float(reader.whole("seconds", default=0, least=0, most=366 * 86400)),
    )
    reader.finish()
    return budget


def _accepts(reader: Reader) -> FileMapping:
    mapping = FileMapping(
        text_field=reader.text("text", default=""),
        base64_field=reader.text("base64", default=""),
        name_field=reader.text("name", default=""),
    )
    reader.finish()
    return mapping


def _concurrency(reader: Reader) -> Concurrency:
    concurrency = Concurrency(key=reader.expression("key"), limit=reader.whole("limit", default=1, least=1, most=100_000))
    reader.finish()
    return concurrency


def _node(nodes: Reader, name: str) -> Node:
    reader = nodes.reader(name)
    if not NODE_NAME.fullmatch(name) or name in _RESERVED:
        nodes.note(name, "is not a name for a node", f"must match {NODE_NAME.pattern} and not be {', '.join(_RESERVED)}")
    kinds = [kind for kind in KINDS if reader.has(kind)]
    if len(kinds) != 1:
        found = f": {', '.join(kinds)}" if kinds else ""
        reader.note("", f"has {len(kinds) or 'no'} kinds{found}", f"give it exactly one of {', '.join(KINDS)}")
    for other in kinds[1:]:
        reader.raw(other)
    kind_name = kinds[0] if kinds else ""
    idle = _MEANINGLESS.get(kind_name, ())
    for key in idle:
        if reader.has(key):
            reader.raw(key)
            reader.note(key, f"has no meaning on a {kind_name} node", _INSTEAD.get(kind_name, "take it out"))
    kind = KINDS[kind_name](reader, kind_name) if kind_name else SetNode(fields={})
    node = Node(
        name=name,
        kind=kind,
        next=END if "next" in idle else reader.text("next"),
        require=reader.expressions("require"),
        ensure=() if "ensure" in idle else reader.expressions("ensure"),
        save={} if "save" in idle else reader.templates("save"),
        timeout_s=_default_timeout_s(kind) if "timeout" in idle else reader.seconds("timeout", default=_default_timeout_s(kind)),
        retry=_retry(reader.reader("retry")) if reader.has("retry") and "retry" not in idle else RetryPolicy(),
        on_failure=_on_failure(reader.reader("on_failure")) if reader.has("on_failure") else {},
        undo=read_tool(reader, "undo") if reader.has("undo") else None,
    )
    if node.undo is not None and kind_name != "tool":
        reader.note("undo", f"stands on a {kind_name or 'broken'} node", "only what a tool did can be undone: move it to the tool node")
    reader.finish()
    return node


def _default_timeout_s(kind: Kind) -> float:
    """Nodes that wait for other runs, people or the clock have no limit but those of what they wait for, and the run's."""
    waits = isinstance(kind, SubgraphNode | ParallelNode) or (isinstance(kind, MapNode) and kind.distributed)
    return 0.0 if waits or isinstance(kind, ApproveNode | TimerNode | SignalNode) else _DEFAULT_TIMEOUT_S


def _retry(reader: Reader) -> RetryPolicy:
    policy = RetryPolicy(
        attempts=reader.whole("attempts", default=1, least=1, most=100),
        backoff_s=reader.seconds("backoff", default=0.5),
        on=frozenset(category for word in reader.words("on") if (category := _category(reader, "on", word))),
    )
    if policy.attempts > 1 and not reader.has("on"):
        reader.note("on", "is missing", "say which categories are tried again: on: [timeout, upstream_unavailable]")
    reader.finish()
    return policy


def _on_failure(reader: Reader) -> Mapping[str, str]:
    routes = {}
    for word in reader.value:
        if word != ANY:
            _category(reader, word, word)
        routes[word] = reader.text(word)
    reader.finish()
    return routes


def _category(reader: Reader, key: str, word: str) -> Category | None:
    try:
        return Category(word)
    except ValueError:
        reader.note(key, f"names the unknown category {shown(word)}", f"one of {', '.join(Category)}")
        return None
