"""Random graphs, valid by construction, of every kind of node; they come to an end, and read no field that may be missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st
from plimsoll_runtime.json_types import JsonObject, JsonValue

_TYPES: Mapping[str, JsonObject] = {
    "text": {"type": "string"},
    "number": {"type": "integer"},
    "flag": {"type": "boolean"},
    "items": {"type": "array", "items": {"type": "integer"}},
    "thing": {"type": "object"},
}
_READ: Mapping[str, tuple[str, ...]] = {
    "text": ("state.text", "'constant'", "state.text + '!'", "string(state.number)", "has(state.thing.name) ? 'named' : state.text"),
    "number": ("state.number", "1", "state.number + 1", "size(state.items)", "math.greatest(state.number, 7)"),
    "flag": (
        "state.flag",
        "true",
        "state.number > 3",
        "state.text == 'x'",
        "state.items.exists(i, i > 2)",
        "!state.flag && run.attempt > 0",
    ),
    "items": ("state.items", "[1, 2, 3]", "state.items + [state.number]", "state.items.map(i, i * 2)", "state.items.filter(i, i > 1)"),
    "thing": ("state.thing", "{'name': state.text}", "{'n': state.number, 'list': state.items}"),
}
_CATEGORIES = ("timeout", "upstream_unavailable", "tool_error", "rate_limited")
_DURATIONS = ("10ms", "1s", "5m")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What graphs may refer to outside of themselves. A name is only drawn when there is one."""

    tools: tuple[str, ...] = ("fetch", "store", "cancel")
    prompts: tuple[str, ...] = ("answer",)
    collections: tuple[str, ...] = ("help",)
    agents: tuple[str, ...] = ("child",)
    signals: tuple[str, ...] = ("go",)
    parks: bool = True  # nodes that wait for time, signals and people
    threads: bool = True  # nodes that need a thread


def graphs(world: World | None = None, *, segments: int = 5) -> st.SearchStrategy[JsonObject]:
    """A strategy for declared graphs: JSON, as it stands in YAML. Every input has all fields that expressions read."""

    @st.composite
    def drawn(draw: st.DrawFn) -> JsonObject:
        drawing = _Drawing(draw, world or World())
        drawing.chain("end", draw(st.integers(1, segments)), depth=0)
        return drawing.document()

    return drawn()


def inputs() -> st.SearchStrategy[JsonObject]:
    """Inputs that fit every graph of `graphs()`."""
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    return st.fixed_dictionaries(
        {
            "text": texts,
            "number": st.integers(-5, 5),
            "flag": st.booleans(),
            "items": st.lists(st.integers(-3, 3), max_size=4),
            "thing": st.dictionaries(st.sampled_from(("name", "size")), texts, max_size=2),
        }
    )


@dataclass(slots=True)
class _Drawing:
    draw: st.DrawFn
    world: World
    nodes: dict[str, JsonValue] = field(default_factory=dict)
    fields: dict[str, JsonValue] = field(default_factory=lambda: dict(_TYPES))

    def document(self) -> JsonObject:
        names = list(_TYPES)
        graph: JsonObject = {
            "agent": "drawn",
            "input": {"type": "object", "additionalProperties": False, "required": list(names), "properties": dict(_TYPES)},
            "state": {"type": "object", "additionalProperties": False, "properties": dict(self.fields)},
            "start": next(reversed(self.nodes)),
            "budget": {"steps": 300},
            "output": {name: f"state.{name}" for name in names},
            "nodes": dict(reversed(self.nodes.items())),
        }
        if self.chance():
            graph["description"] = "Drawn at random"
        if self.chance():
            graph["keep"] = ["number", "items"]
        if self.chance():
            graph["concurrency"] = {"key": "input.text", "limit": 2}
        if self.chance():
            graph["on_failure"] = {"any": "fail"}
        return graph

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def one_of(self, options: tuple[str, ...]) -> str:
        return self.draw(st.sampled_from(options))

    def expression(self, kind: str) -> str:
        return self.one_of(_READ[kind])

    def values(self, *, item: bool = False) -> JsonObject:
        """Arguments of any kind: expressions, literals and nested ones."""
        found: JsonObject = {"text": self.expression("text"), "number": self.draw(st.integers(0, 9))}
        if self.chance():
            found["nested"] = {"list": [self.expression("items"), None, True], "flag": self.expression("flag")}
        if item:
            found["item"] = self.one_of(("item", "item + index", "string(item)"))
        return found

    def chain(self, last: str, segments: int, depth: int) -> str:
        """A chain of nodes that goes on at `last`; written from its end, so that each knows its next. Its first node."""
        first = last
        for _ in range(segments):
            first = self.segment(first, depth)
        if first == last:
            first = self.add({"set": {"number": self.expression("number")}}, last)
        return first

    def add(self, node: JsonObject, following: str | None, name: str = "") -> str:
        name = name or f"n{len(self.nodes)}"
        self.nodes[name] = node | ({} if following is None else {"next": following})
        return name

    def segment(self, following: str, depth: int) -> str:
        compound: tuple[Callable[[str, int], str], ...] = (self.decision, self.loop, self.fork, self.mended)
        if depth < 2 and self.draw(st.integers(0, 3)) == 0:
            return self.draw(st.sampled_from(compound))(following, depth)
        return self.single(following)

    def single(self, following: str) -> str:
        node = self.draw(st.sampled_from(self._kinds()))()
        self.around(node)
        return self.add(node, following)

    def around(self, node: JsonObject) -> None:
        """Fields that every kind may have."""
        if self.chance():
            node["require"] = [self.expression("flag") + " || true"]
        if self.chance() and not {"wait", "approve"} & node.keys():
            node["timeout"] = self.one_of(("30s", "5m"))
        if "set" not in node:
            if self.chance():
                node["retry"] = {"attempts": 2, "backoff": self.one_of(_DURATIONS), "on": [self.one_of(_CATEGORIES)]}
            if self.chance():
                saved = f"f{len(self.fields)}"
                kind = self.one_of(tuple(_TYPES))
                self.fields[saved] = _TYPES[kind]
                node["save"] = (
                    {saved: self.expression(kind), "number": self.expression("number")}
                    if kind == "text"
                    else {saved: self.expression(kind)}
                )

    def decision(self, following: str, depth: int) -> str:
        """Some branches of their own, all of which meet again."""
        branches: list[JsonValue] = [
            {"when": self.expression("flag"), "next": self.chain(following, 1, depth + 1)} for _ in range(self.draw(st.integers(1, 2)))
        ]
        return self.add({"decide": {"branches": branches, "default": following}}, None)

    def loop(self, following: str, depth: int) -> str:
        """Twice round at the most, counted in a field of its own."""
        rounds = f"f{len(self.fields)}"
        self.fields[rounds] = {"type": "integer"}
        count = f"n{len(self.nodes)}"
        self.nodes[count] = {}
        body = self.chain(count, 1, depth + 1)
        gate = self.add({"decide": {"branches": [{"when": f"state.{rounds} < 2", "next": body}], "default": following}}, None)
        self.nodes[count] = {"set": {rounds: f"has(state.{rounds}) ? state.{rounds} + 1 : 1"}, "next": gate}
        return self.add({"set": {rounds: 0}}, gate)

    def fork(self, following: str, depth: int) -> str:
        """A parallel node; every branch writes into a field that is merged, and fields of its own."""
        names = ("left", "middle", "right")[: self.draw(st.integers(2, 3))]
        gathered = f"f{len(self.fields)}"
        self.fields[gathered] = {"type": "array"}
        branches: JsonObject = {}
        for name in names:
            write = self.add({"set": {gathered: [self.expression("text")]}}, "join")
            branches[name] = self.isolated(write)
        kind: JsonObject = {"branches": branches, "merge": {gathered: "append", "number": self.one_of(("sum", "least", "greatest"))}}
        if self.chance():
            kind["on_branch_failure"] = self.one_of(("fail", "collect"))
        return self.add({"parallel": kind}, following)

    def isolated(self, following: str) -> str:
        """A node inside of a branch: it writes no field that another branch might, but for the number, which is merged."""
        node = self.draw(st.sampled_from(self._kinds()))()
        if "set" in node:
            node = {"set": {"number": self.expression("number")}}
        self.around(node)
        return self.add(node, following)

    def mended(self, following: str, depth: int) -> str:
        """A tool whose failures a handle node looks at."""
        cases: list[JsonValue] = []
        if self.chance():
            cases.append({"when": "failure.retryable && attempts < 3", "retry": True, "limit": 2})
        if self.chance():
            cases.append({"when": "failure.category == 'timeout'", "next": self.chain(following, 1, depth + 1)})
        if self.chance() and self.world.parks:
            cases.append({"when": "failure.reason == 'PERSON'", "escalate": "'Look at ' + failure.where"})
        if self.chance():
            cases.append(
                {"when": "state.flag", "compensate": {"next": following} if self.chance() and following not in {"end", "join"} else {}}
            )
        handler = self.add({"handle": [*cases, {"fail": True}]}, None)
        tool: JsonObject = {"tool": {"name": self.one_of(self.world.tools), "arguments": self.values()}}
        if self.chance():
            tool["undo"] = {"name": self.one_of(self.world.tools), "arguments": {"text": "state.text"}}
        tool["on_failure"] = {"timeout": handler, "any": self.one_of((handler, "fail"))} if self.chance() else {"any": handler}
        return self.add(tool, following)

    def _kinds(self) -> tuple[Callable[[], JsonObject], ...]:
        world = self.world
        found: list[Callable[[], JsonObject]] = [self._set]
        if world.tools:
            found += [self._tool, self._map]
        if world.prompts:
            found += [self._model, self._agent]
        if world.collections:
            found += [self._retrieve, self._file]
        if world.agents:
            found += [self._subgraph, self._spread]
        if world.threads:
            found += [self._recall, self._remember]
        if world.parks:
            found += [self._approve, self._sleep, self._until]
            found += [self._signal] if world.signals else []
        return tuple(found)

    def _set(self) -> JsonObject:
        kind = self.one_of(tuple(_TYPES))
        return {"set": {kind: self.expression(kind)}}

    def _tool(self) -> JsonObject:
        return {"tool": {"name": self.one_of(self.world.tools), "arguments": self.values()}}

    def _model(self) -> JsonObject:
        kind: JsonObject = {"prompt": f"{self.one_of(self.world.prompts)}@production", "variables": {"text": self.expression("text")}}
        if self.chance():
            kind |= {"task": "classification", "max_tokens": 50}
        if self.chance():
            kind["output"] = {"type": "object", "required": ["label"], "properties": {"label": {"type": "string", "enum": ["a", "b"]}}}
            return {"model": kind, "ensure": ["result.output.label in ['a', 'b']"]}
        return {"model": kind}

    def _agent(self) -> JsonObject:
        kind: JsonObject = {"prompt": f"{self.one_of(self.world.prompts)}@1", "tools": list(self.world.tools[:1]), "turns": 3}
        return {"agent": kind | ({"tokens": 1000, "cost_micros": 500} if self.chance() else {}), "ensure": ["result.turns > 0"]}

    def _retrieve(self) -> JsonObject:
        kind: JsonObject = {"collection": self.one_of(self.world.collections), "query": self.expression("text") + " + 'words'", "limit": 2}
        return {"retrieve": kind | ({"filter": {"lang": "'en'"}} if self.chance() else {})}

    def _recall(self) -> JsonObject:
        return {"retrieve": {"thread": True, "max_tokens": 100} | ({"query": self.expression("text")} if self.chance() else {})}

    def _remember(self) -> JsonObject:
        turns: list[JsonValue] = [{"user": self.expression("text")}, {"assistant": "'noted'"}]
        return {"remember": {"thread": True, "turns": turns, "learn": self.chance()}, "ensure": ["size(result.left_out) >= 0"]}

    def _file(self) -> JsonObject:
        fact: JsonObject = {"subject": self.expression("text"), "attribute": "size", "text": "'it is large'", "origin": "tool"}
        return {"remember": {"collection": self.one_of(self.world.collections), "facts": [fact]}}

    def _map(self) -> JsonObject:
        bodies: tuple[JsonObject, ...] = (
            {"tool": {"name": self.one_of(self.world.tools), "arguments": self.values(item=True)}},
            {"set": {"double": "item * 2", "place": "index"}},
        )
        policy = self.one_of(("fail", "collect", "quorum"))
        kind: JsonObject = {"over": self.expression("items"), "do": self.draw(st.sampled_from(bodies)), "on_item_failure": policy}
        if policy == "quorum":
            kind["quorum"] = 0.5
        if self.chance():
            kind["reduce"] = {"initial": "0", "each": "acc + index"}
        return {"map": kind}

    def _spread(self) -> JsonObject:
        child: JsonObject = {"agent": self.one_of(self.world.agents), "input": {"text": "string(item)"}}
        return {"map": {"over": self.expression("items"), "mode": "distributed", "concurrency": 8, "do": {"subgraph": child}}}

    def _subgraph(self) -> JsonObject:
        return {"subgraph": {"agent": self.one_of(self.world.agents), "input": {"text": self.expression("text")}}}

    def _approve(self) -> JsonObject:
        return {"approve": {"summary": self.expression("text"), "details": self.values(), "expires": "1h"}}

    def _sleep(self) -> JsonObject:
        return {"wait": {"for": self.one_of(_DURATIONS)}}

    def _until(self) -> JsonObject:
        return {"wait": {"until": "'2026-01-01T00:00:00Z'"}}

    def _signal(self) -> JsonObject:
        kind: JsonObject = {"signal": self.one_of(self.world.signals), "expires": "1h"}
        return {"wait": kind | ({"where": "signal.payload == state.text || signal.by != ''"} if self.chance() else {})}
