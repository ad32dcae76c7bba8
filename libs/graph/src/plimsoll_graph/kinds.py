"""Reading the kinds of nodes, each from its own mapping."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from plimsoll_graph.expression import Expression
from plimsoll_graph.graph import (
    AgentNode,
    ApproveNode,
    Branch,
    DecideNode,
    FactTemplate,
    FailurePolicy,
    Kind,
    MapNode,
    Merge,
    ModelNode,
    ParallelNode,
    PromptName,
    RecallNode,
    Reducer,
    RememberNode,
    RetrieveNode,
    SetNode,
    SignalNode,
    SubgraphNode,
    TimerNode,
    ToolNode,
    TurnTemplate,
)
from plimsoll_graph.reader import FALSE, NAME, NODE_NAME, Reader, shown
from plimsoll_graph.remedies import read_handle

ORIGINS_OF_TURNS = ("user", "assistant", "tool", "system")
ORIGINS_OF_FACTS = ("user", "assistant", "tool", "operator")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TOOL_CHOICE = re.compile(r"[a-z][a-z0-9_]{0,63}\*?")  # with a star: all whose names begin so, also those that come later
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BRANCHES_MOST = 64
_DAY_S = 86400.0
_Body: TypeAlias = ModelNode | ToolNode | RetrieveNode | SetNode | SubgraphNode


def read_model(parent: Reader, key: str) -> ModelNode:
    reader = parent.reader(key)
    node = ModelNode(
        prompt=_prompt(reader),
        variables=reader.templates("variables"),
        task=reader.text("task", default="answering", pattern=_WORD),
        output=reader.schema("output"),
        max_tokens=reader.whole("max_tokens", default=1024, least=1, most=1_000_000),
    )
    reader.finish()
    return node


def read_agent(parent: Reader, key: str) -> AgentNode:
    reader = parent.reader(key)
    node = AgentNode(
        prompt=_prompt(reader),
        variables=reader.templates("variables"),
        task=reader.text("task", default="reasoning", pattern=_WORD),
        tools=_tools(reader),
        turns=reader.whole("turns", default=8, least=1, most=100),
        output=reader.schema("output"),
        max_tokens=reader.whole("max_tokens", default=1024, least=1, most=1_000_000),
        tokens=reader.whole("tokens", default=0, least=0, most=2**53),
        cost_micros=reader.whole("cost_micros", default=0, least=0, most=2**53),
    )
    reader.finish()
    return node


def read_tool(parent: Reader, key: str) -> ToolNode:
    reader = parent.reader(key)
    node = ToolNode(tool=reader.text("name", pattern=_TOOL_NAME), arguments=reader.templates("arguments"))
    reader.finish()
    return node


def _prompt(reader: Reader) -> PromptName:
    name, _, selector = reader.text("prompt").partition("@")
    if name and not NAME.fullmatch(name):
        reader.note("prompt", f"names {shown(name)}", f"must match {NAME.pattern}, then @label or @version")
    if selector.isascii() and selector.isdecimal():
        return PromptName(name=name, version=int(selector[:18]))
    if selector and not _WORD.fullmatch(selector):
        reader.note(
            "prompt", f"asks for {shown(selector)}", f"behind the @ stands a version number or a label that matches {_WORD.pattern}"
        )
    return PromptName(name=name, label=selector or "production")


def _tools(reader: Reader) -> tuple[str, ...]:
    names = reader.words("tools")
    for index, name in enumerate(names):
        if not _TOOL_CHOICE.fullmatch(name):
            reader.note_at((*reader.path, "tools", index), f"is {shown(name)}", f"must match {_TOOL_CHOICE.pattern}")
        elif name in names[:index]:
            reader.note_at((*reader.path, "tools", index), f"names {name!r} twice", "keep one of them")
    return names


def _retrieve(parent: Reader, key: str) -> RetrieveNode | RecallNode:
    reader = parent.reader(key)
    if not reader.has("thread"):
        return _search(reader)
    _of_thread(reader)
    recall = RecallNode(max_tokens=reader.whole("max_tokens", default=2000, least=1, most=1_000_000), query=reader.optional("query"))
    reader.finish()
    return recall


def _passages(parent: Reader, key: str) -> RetrieveNode:
    return _search(parent.reader(key))


def _search(reader: Reader) -> RetrieveNode:
    node = RetrieveNode(
        collection=reader.text("collection", pattern=NAME),
        query=reader.expression("query"),
        limit=reader.whole("limit", default=5, least=1, most=100),
        filter=reader.templates("filter"),
    )
    reader.finish()
    return node


def _of_thread(reader: Reader) -> None:
    if reader.raw("thread") is not True:
        reader.note("thread", f"is {shown(reader.raw('thread'))}", "write `thread: true`, or name a collection instead")
    if reader.has("collection"):
        reader.raw("collection")
        reader.note("collection", "stands beside `thread`", "keep one of them")


def _remember(parent: Reader, key: str) -> RememberNode:
    reader = parent.reader(key)
    in_thread = reader.has("thread")
    if in_thread:
        _of_thread(reader)
    node = RememberNode(
        collection="" if in_thread else reader.text("collection", pattern=NAME),
        turns=tuple(_turn(item) for item in reader.optional_items("turns")),
        facts=tuple(_fact(item, needs_subject=not in_thread) for item in reader.optional_items("facts")),
        learn=reader.flag("learn"),
    )
    if not in_thread:
        for field in ("turns", "learn"):
            if reader.has(field):
                reader.note(field, "has no meaning for a collection", "turns belong to a thread: write `thread: true`")
    if not reader.has("turns") and not reader.has("facts"):
        reader.note("", "has nothing to remember", "give it turns or facts")
    reader.finish()
    return node


def _turn(item: Reader) -> TurnTemplate:
    found = [origin for origin in ORIGINS_OF_TURNS if item.has(origin)]
    if len(found) != 1:
        item.note(
            "", "does not say who said one text", f"write one of {', '.join(ORIGINS_OF_TURNS)} and what was said: {{user: state.message}}"
        )
    turn = TurnTemplate(origin=found[0] if found else "user", text=item.expression(found[0]) if found else FALSE)
    item.finish()
    return turn


def _fact(item: Reader, *, needs_subject: bool) -> FactTemplate:
    origin = item.text("origin", default="user")
    if origin not in ORIGINS_OF_FACTS:
        item.note("origin", f"is {shown(origin)}", f"write one of {', '.join(ORIGINS_OF_FACTS)}")
    fact = FactTemplate(
        subject=item.expression("subject") if needs_subject or item.has("subject") else None,
        attribute=item.text("attribute", default="", pattern=_WORD),
        text=item.expression("text"),
        origin=origin,
    )
    item.finish()
    return fact


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


def _subgraph(parent: Reader, key: str) -> SubgraphNode:
    reader = parent.reader(key)
    node = SubgraphNode(
        agent=reader.text("agent", pattern=NAME),
        digest=reader.text("digest", default="", pattern=_DIGEST),
        input=reader.templates("input"),
    )
    reader.finish()
    return node


def _map(parent: Reader, key: str) -> MapNode:
    reader = parent.reader(key)
    mode = reader.text("mode", default="inline")
    if mode not in {"inline", "distributed"}:
        reader.note("mode", f"is {shown(mode)}", "write inline or distributed")
    distributed = mode == "distributed"
    policy = reader.word("on_item_failure", FailurePolicy.FAIL)
    if policy is FailurePolicy.QUORUM and not reader.has("quorum"):
        reader.note("quorum", "is missing", "say which share of the items has to come out well, such as 0.8")
    elif policy is not FailurePolicy.QUORUM and reader.has("quorum"):
        reader.note("quorum", "has no meaning without `on_item_failure: quorum`", "take it out, or change the policy")
    node = MapNode(
        over=reader.expression("over"),
        concurrency=reader.whole("concurrency", default=4, least=1, most=1000 if distributed else 64),
        body=_body(reader.reader("do"), distributed=distributed),
        distributed=distributed,
        policy=policy,
        quorum=reader.share("quorum", default=1.0),
        reduce=_reducer(reader.reader("reduce")) if reader.has("reduce") else None,
    )
    reader.finish()
    return node


def _body(reader: Reader, *, distributed: bool) -> _Body:
    bodies = _DISTRIBUTED_BODIES if distributed else _INLINE_BODIES
    found = [name for name in bodies if reader.has(name)]
    if len(found) != 1:
        mode = "distributed" if distributed else "inline"
        for name in KINDS:
            reader.raw(name)
        reader.note("", "does not have exactly one kind", f"the body of a map that is {mode}: one of {', '.join(bodies)}")
    body: _Body = bodies[found[0]](reader, found[0]) if found else SetNode(fields={})
    reader.finish()
    return body


def _reducer(reader: Reader) -> Reducer:
    reducer = Reducer(initial=reader.expression("initial"), each=reader.expression("each"))
    reader.finish()
    return reducer


def _parallel(parent: Reader, key: str) -> ParallelNode:
    reader = parent.reader(key)
    branches = reader.reader("branches")
    if not 0 < len(branches.value) <= _BRANCHES_MOST:
        reader.note("branches", f"has {len(branches.value)} entries", f"write from 1 to {_BRANCHES_MOST} `name: first node` lines")
    for name in branches.value:
        if not NODE_NAME.fullmatch(name):
            branches.note(name, "is not a name for a branch", f"must match {NODE_NAME.pattern}")
    policy = reader.word("on_branch_failure", FailurePolicy.FAIL)
    if policy is FailurePolicy.QUORUM:
        reader.note("on_branch_failure", "is 'quorum'", "write fail or collect")
    merges = reader.reader("merge") if reader.has("merge") else None
    names = list(reader.words("order")) if reader.has("order") else list(branches.value)
    if sorted(names) != sorted(branches.value):
        reader.note(
            "order", "does not name every branch once", f"write them in the order in which to join them: {', '.join(branches.value)}"
        )
        names = list(branches.value)
    node = ParallelNode(
        branches={name: branches.text(name) for name in names},
        policy=policy,
        merge={field: merges.word(field, Merge.APPEND) for field in merges.value} if merges else {},
    )
    reader.finish()
    return node


def _wait(parent: Reader, key: str) -> TimerNode | SignalNode:
    reader = parent.reader(key)
    found = [word for word in ("for", "until", "signal") if reader.has(word)]
    if len(found) != 1:
        for word in ("for", "until", "signal", "where", "expires", "on_expired"):
            reader.raw(word)
        reader.note("", "does not wait for exactly one thing", "one of for: 30s, until: EXPRESSION, signal: NAME")
    node: TimerNode | SignalNode
    if found[:1] == ["signal"]:
        node = SignalNode(
            signal=reader.text("signal", pattern=_WORD),
            where=reader.optional("where"),
            expires_s=reader.seconds("expires", default=_DAY_S),
            on_expired=reader.text("on_expired", default=""),
        )
    else:
        until: Expression | None = reader.optional("until")
        node = TimerNode(seconds=0.0 if until else reader.seconds("for", default=1.0), until=until)
    reader.finish()
    return node


def _approve(parent: Reader, key: str) -> ApproveNode:
    reader = parent.reader(key)
    node = ApproveNode(
        summary=reader.expression("summary"),
        details=reader.templates("details"),
        expires_s=reader.seconds("expires", default=_DAY_S),
        on_rejected=reader.text("on_rejected", default=""),
        on_expired=reader.text("on_expired", default=""),
    )
    reader.finish()
    return node


_INLINE_BODIES: Mapping[str, Callable[[Reader, str], _Body]] = {
    "model": read_model,
    "tool": read_tool,
    "retrieve": _passages,
    "set": _set,
}
_DISTRIBUTED_BODIES: Mapping[str, Callable[[Reader, str], _Body]] = {"subgraph": _subgraph}
KINDS: Mapping[str, Callable[[Reader, str], Kind]] = {
    "model": read_model,
    "agent": read_agent,
    "tool": read_tool,
    "retrieve": _retrieve,
    "remember": _remember,
    "decide": _decide,
    "set": _set,
    "map": _map,
    "parallel": _parallel,
    "subgraph": _subgraph,
    "approve": _approve,
    "wait": _wait,
    "handle": read_handle,
}
