"""From the text of a graph to a Graph, or to every mistake in it, each with its line."""

from collections.abc import Callable, Mapping

from plimsoll_runtime.failures import Category

from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.expression import Expression
from plimsoll_graph.graph import (
    ANY,
    END,
    AgentNode,
    ApproveNode,
    Branch,
    Budget,
    Case,
    DecideNode,
    Escalate,
    FileMapping,
    GiveUp,
    GoTo,
    Graph,
    HandleNode,
    Kind,
    MapNode,
    ModelNode,
    Node,
    PromptName,
    Remedy,
    RetrieveNode,
    Retry,
    RetryPolicy,
    SetNode,
    ToolNode,
)
from plimsoll_graph.reader import FALSE, NAME, NODE_NAME, Reader
from plimsoll_graph.routes import check_routes
from plimsoll_graph.yaml_source import read_yaml

_DEFAULT_TIMEOUT_S = 120.0
_DEFAULT_STEPS = 1000


def parse_graph(text: str, source_name: str) -> Graph:
    """Read a graph from YAML or JSON text. Raises InvalidGraph with every mistake."""
    source = read_yaml(text, source_name or "agent.yaml")
    problems = list(source.problems)
    if source.value is None:
        problems = problems or [source.problem((), "is empty", "declare an agent")]
        raise InvalidGraph(problems=problems, remedy="mend the mistakes and register again")
    reader = Reader.at(source, (), source.value, problems)
    graph = _graph(reader)
    problems += check_routes(graph, source)
    if problems:
        raise InvalidGraph(problems=problems, remedy="mend the mistakes and register again")
    return graph


def _graph(reader: Reader) -> Graph:
    nodes_reader = reader.reader("nodes")
    nodes = {name: _node(nodes_reader, name) for name in nodes_reader.value}
    if not nodes:
        reader.note("nodes", "is empty", "declare at least one node")
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
        seconds=float(reader.whole("seconds", default=0, least=0, most=365 * 86400)),
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


def _node(nodes: Reader, name: str) -> Node:
    reader = nodes.reader(name)
    if not NODE_NAME.fullmatch(name) or name == END:
        nodes.note(name, "is not a name for a node", f"must match {NODE_NAME.pattern} and not be {END!r}")
    kinds = [kind for kind in _KINDS if reader.has(kind)]
    if len(kinds) != 1:
        reader.note(
            "", f"has {len(kinds) or 'no'} kinds{': ' + ', '.join(kinds) if kinds else ''}", f"give it exactly one of {', '.join(_KINDS)}"
        )
    kind_name = kinds[0] if kinds else "set"
    kind = _KINDS[kind_name](reader, kind_name) if kinds else SetNode(fields={})
    routed = kind_name in {"decide", "handle"}
    if routed:
        for key in ("next", "save", "ensure", "retry"):
            if reader.has(key):
                reader.raw(key)
                reader.note(key, f"has no meaning on a {kind_name} node", "take it out")
    node = Node(
        name=name,
        kind=kind,
        next=END if routed else reader.text("next"),
        require=reader.expressions("require"),
        ensure=() if routed else reader.expressions("ensure"),
        save={} if routed else reader.templates("save"),
        timeout_s=reader.seconds("timeout", default=_DEFAULT_TIMEOUT_S),
        retry=_retry(reader.reader("retry")) if reader.has("retry") and not routed else RetryPolicy(),
        on_failure=_on_failure(reader.reader("on_failure")) if reader.has("on_failure") else {},
    )
    reader.finish()
    return node


def _retry(reader: Reader) -> RetryPolicy:
    policy = RetryPolicy(
        attempts=reader.whole("attempts", default=1, least=1, most=100),
        backoff_s=reader.seconds("backoff", default=0.5),
        on=frozenset(category for word in reader.words("on") if (category := _category(reader, "on", word))),
    )
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
        reader.note(key, f"names the unknown category {word!r}", f"one of {', '.join(Category)}")
        return None


def _prompt(reader: Reader) -> PromptName:
    name, _, selector = reader.text("prompt").partition("@")
    if name and not NAME.fullmatch(name):
        reader.note("prompt", f"names {name!r}", f"must match {NAME.pattern}, then @label or @version")
    if selector.isdecimal():
        return PromptName(name=name, version=int(selector))
    return PromptName(name=name, label=selector or "production")


def _model(parent: Reader, key: str) -> ModelNode:
    reader = parent.reader(key)
    node = ModelNode(
        prompt=_prompt(reader),
        variables=reader.templates("variables"),
        task=reader.text("task", default="answering"),
        output=reader.schema("output"),
        max_tokens=reader.whole("max_tokens", default=1024, least=1, most=1_000_000),
    )
    reader.finish()
    return node


def _agent(parent: Reader, key: str) -> AgentNode:
    reader = parent.reader(key)
    node = AgentNode(
        prompt=_prompt(reader),
        variables=reader.templates("variables"),
        task=reader.text("task", default="reasoning"),
        tools=reader.words("tools"),
        turns=reader.whole("turns", default=8, least=1, most=100),
        output=reader.schema("output"),
        max_tokens=reader.whole("max_tokens", default=1024, least=1, most=1_000_000),
    )
    reader.finish()
    return node


def _tool(parent: Reader, key: str) -> ToolNode:
    reader = parent.reader(key)
    node = ToolNode(tool=reader.text("name", pattern=NODE_NAME), arguments=reader.templates("arguments"))
    reader.finish()
    return node


def _retrieve(parent: Reader, key: str) -> RetrieveNode:
    reader = parent.reader(key)
    node = RetrieveNode(
        collection=reader.text("collection", pattern=NAME),
        query=reader.expression("query"),
        limit=reader.whole("limit", default=5, least=1, most=100),
        filter=reader.templates("filter"),
    )
    reader.finish()
    return node


def _decide(parent: Reader, key: str) -> DecideNode:
    reader = parent.reader(key)
    branches = []
    for item in reader.items("branches"):
        branches.append(Branch(when=item.expression("when"), next=item.text("next")))
        item.finish()
    node = DecideNode(branches=tuple(branches), default=reader.text("default"))
    reader.finish()
    return node


def _set(parent: Reader, key: str) -> SetNode:
    return SetNode(fields=parent.templates(key))


def _map(parent: Reader, key: str) -> MapNode:
    reader = parent.reader(key)
    body_reader = reader.reader("do")
    found = [name for name in _BODIES if body_reader.has(name)]
    if len(found) != 1:
        body_reader.note("", "does not have exactly one kind", f"one of {', '.join(_BODIES)}")
    body = _BODIES[found[0]](body_reader, found[0]) if found else SetNode(fields={})
    body_reader.finish()
    policy = reader.text("on_item_failure", default="fail")
    if policy not in {"fail", "collect"}:
        reader.note("on_item_failure", f"is {policy!r}", "write fail or collect")
    node = MapNode(
        over=reader.expression("over"),
        concurrency=reader.whole("concurrency", default=4, least=1, most=64),
        collect_failures=policy == "collect",
        body=body,
    )
    reader.finish()
    return node


def _approve(parent: Reader, key: str) -> ApproveNode:
    reader = parent.reader(key)
    node = ApproveNode(
        summary=reader.expression("summary"),
        details=reader.templates("details"),
        expires_s=reader.seconds("expires", default=86400.0),
        on_rejected=reader.text("on_rejected", default=""),
        on_expired=reader.text("on_expired", default=""),
    )
    reader.finish()
    return node


def _handle(parent: Reader, key: str) -> HandleNode:
    cases = []
    items = parent.items(key)
    for position, item in enumerate(items):
        when: Expression | None = item.expression("when") if item.has("when") else None
        if when is None and position < len(items) - 1:
            item.note("", "has no `when` and hides the cases behind it", "move it to the end")
        if when is not None and position == len(items) - 1:
            item.note("when", "stands on the last case", "end with a case without `when`: what to do in all other cases")
        cases.append(Case(when=when, remedy=_remedy(item)))
        item.finish()
    return HandleNode(cases=tuple(cases))


def _remedy(item: Reader) -> Remedy:
    found = [key for key in ("retry", "next", "escalate", "fail") if item.has(key)]
    if len(found) != 1:
        item.note("", "does not have exactly one remedy", "one of retry: true, next: NODE, escalate: SUMMARY, fail: true")
    limit = item.whole("limit", default=2, least=1, most=100)
    match found[:1]:
        case ["retry"]:
            item.raw("retry")
            return Retry(limit=limit)
        case ["next"]:
            return GoTo(next=item.text("next"))
        case ["escalate"]:
            return Escalate(summary=item.expression("escalate", default=FALSE))
        case _:
            item.raw("fail")
            return GiveUp()


_BODIES: Mapping[str, Callable[[Reader, str], ModelNode | ToolNode | RetrieveNode | SetNode]] = {
    "model": _model,
    "tool": _tool,
    "retrieve": _retrieve,
    "set": _set,
}
_KINDS: Mapping[str, Callable[[Reader, str], Kind]] = {
    "model": _model,
    "agent": _agent,
    "tool": _tool,
    "retrieve": _retrieve,
    "decide": _decide,
    "set": _set,
    "map": _map,
    "approve": _approve,
    "handle": _handle,
}
