"""The builder: the same digest as the equal YAML, for every kind of node and every field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_graph import builder as b
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.expression import compile_expression
from plimsoll_graph.parse import parse_graph

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {"type": "integer"}, "list": {"type": "array"}},
}
HEAD = """
agent: built
input: {type: object, properties: {text: {type: string}, n: {type: integer}, list: {type: array}}}
state: {type: object, properties: {text: {type: string}, n: {type: integer}, list: {type: array}}}
start: a
nodes:
"""


def built(**nodes: b.Node) -> b.Agent:
    return b.Agent(agent="built", input=dict(SCHEMA), state=dict(SCHEMA), start="a", nodes=nodes)  # type: ignore[arg-type]


MODEL = b.Model(prompt="p@1", variables={"x": "state.text"}, task="answering", output={"type": "object"}, max_tokens=5)
KINDS = {
    "model": (MODEL, "model: {prompt: p@1, variables: {x: state.text}, task: answering, output: {type: object}, max_tokens: 5}"),
    "agent": (
        b.AgentLoop(prompt="p", tools=["t"], variables={"x": "1"}, task="reasoning", turns=2, max_tokens=5, tokens=9, cost_micros=8),
        "agent: {prompt: p, tools: [t], variables: {x: '1'}, task: reasoning, turns: 2, max_tokens: 5, tokens: 9, cost_micros: 8}",
    ),
    "tool": (
        b.Tool(name="t", arguments={"x": "state.text", "y": [1, None, {"z": "'w'"}]}),
        "tool: {name: t, arguments: {x: state.text, y: [1, null, {z: \"'w'\"}]}}",
    ),
    "retrieve": (
        b.Retrieve(collection="c", query="state.text", limit=3, filter={"lang": "'en'"}),
        "retrieve: {collection: c, query: state.text, limit: 3, filter: {lang: \"'en'\"}}",
    ),
    "recall": (b.Recall(max_tokens=9, query="state.text"), "retrieve: {thread: true, max_tokens: 9, query: state.text}"),
    "remember": (
        b.Remember(turns=[b.Turn("user", "state.text")], facts=[b.Fact(text="'x'", attribute="size")], learn=True),
        "remember: {thread: true, turns: [{user: state.text}], facts: [{text: \"'x'\", attribute: size}], learn: true}",
    ),
    "file": (
        b.Remember(collection="c", facts=[b.Fact(subject="state.text", text="'x'", origin="tool")]),
        "remember: {collection: c, facts: [{subject: state.text, text: \"'x'\", origin: tool}]}",
    ),
    "set": (b.Set({"n": "state.n + 1", "list": [1, "state.text", None]}), "set: {n: state.n + 1, list: [1, state.text, null]}"),
    "map": (
        b.Map(
            over="state.list",
            do=b.Set({"x": "item"}),
            mode="inline",
            concurrency=2,
            on_item_failure="quorum",
            quorum=0.5,
            reduce=b.Reduce(initial="0", each="acc + index"),
        ),
        "map: {over: state.list, do: {set: {x: item}}, mode: inline, concurrency: 2, on_item_failure: quorum, quorum: 0.5,"
        " reduce: {initial: '0', each: acc + index}}",
    ),
    "spread": (
        b.Map(over="state.list", mode="distributed", do=b.Subgraph(agent="child", input={"x": "item"})),
        "map: {over: state.list, mode: distributed, do: {subgraph: {agent: child, input: {x: item}}}}",
    ),
    "subgraph": (b.Subgraph(agent="child", digest="a" * 64), f"subgraph: {{agent: child, digest: {'a' * 64}}}"),
    "approve": (
        b.Approve(summary=b.text("Pay?"), details={"n": "state.n"}, expires="1h", on_rejected=b.END, on_expired=b.END),
        "approve: {summary: \"'Pay?'\", details: {n: state.n}, expires: 1h, on_rejected: end, on_expired: end}",
    ),
    "sleep": (b.Sleep("30s"), "wait: {for: 30s}"),
    "until": (b.SleepUntil("state.text"), "wait: {until: state.text}"),
    "signal": (
        b.WaitForSignal(signal="go", where="signal.by == 'me'", expires="2h", on_expired=b.END),
        "wait: {signal: go, where: \"signal.by == 'me'\", expires: 2h, on_expired: end}",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_the_digest_of_its_yaml(name: str) -> None:
    kind, yaml = KINDS[name]
    graph = built(a=b.Node(kind, next=b.END)).graph()
    assert graph.digest == parse_graph(f"{HEAD}  a: {{{yaml}, next: end}}\n", "a.yaml").digest


def test_decide_handle_and_parallel_have_the_digest_of_their_yaml() -> None:
    graph = built(
        a=b.Node(b.Decide(branches=[b.Branch("state.n > 1", "both")], default=b.END)),
        both=b.Node(b.Parallel(branches={"x": "left", "y": "right"}, on_branch_failure="collect", merge={"list": "append"}), next=b.END),
        left=b.Node(b.Set({"list": [1]}), next=b.JOIN),
        right=b.Node(b.Tool(name="t"), save={"list": "result"}, on_failure={b.ANY: "mend"}, next=b.JOIN),
        mend=b.Node(
            b.Handle(
                [
                    b.Retry(when="attempts < 2", limit=3),
                    b.Escalate(b.text("Help"), when="failure.retryable"),
                    b.Compensate(when="failure.reason == 'x'"),
                    b.Fail(),
                ]
            )
        ),
    ).graph()
    yaml = """
  a: {decide: {branches: [{when: state.n > 1, next: both}], default: end}}
  both: {parallel: {branches: {x: left, y: right}, on_branch_failure: collect, merge: {list: append}}, next: end}
  left: {set: {list: [1]}, next: join}
  right: {tool: {name: t}, save: {list: result}, on_failure: {any: mend}, next: join}
  mend:
    handle:
      - {when: attempts < 2, retry: true, limit: 3}
      - {when: failure.retryable, escalate: "'Help'"}
      - {when: failure.reason == 'x', compensate: {}}
      - {fail: true}
"""
    assert graph.digest == parse_graph(HEAD + yaml, "a.yaml").digest


def test_every_field_of_nodes_and_graphs_has_the_digest_of_its_yaml() -> None:
    agent = b.Agent(
        agent="built",
        description="All of it",
        input=dict(SCHEMA),  # type: ignore[arg-type]
        accepts=b.Accepts(text="text"),
        state=dict(SCHEMA),  # type: ignore[arg-type]
        start="a",
        budget=b.Budget(steps=9, tokens=8, cost_micros=7, seconds=6),
        keep=["list"],
        concurrency=b.Concurrency(key="input.text", limit=2),
        on_failure={b.ANY: b.FAIL},
        output={"x": "state.text", "nested": {"n": "state.n", "none": None}},
        nodes={
            "a": b.Node(
                b.Tool(name="book"),
                save={"text": "result.id"},
                require=["state.n > 0"],
                ensure=["result.id != ''"],
                timeout="5s",
                retry=b.RetryPolicy(attempts=2, on=["timeout"], backoff="1s"),
                on_failure={"timeout": "back", b.ANY: b.FAIL},
                undo=b.Undo(name="cancel", arguments={"id": "state.text"}),
                next=b.END,
            ),
            "back": b.Node(b.Handle([b.GoTo("last", when="attempts > 1"), b.Compensate(next="last")])),
            "last": b.Node(b.Set({"n": 0}), next=b.END),
        },
    )
    yaml = """
agent: built
description: All of it
input: {type: object, properties: {text: {type: string}, n: {type: integer}, list: {type: array}}}
accepts: {text: text}
state: {type: object, properties: {text: {type: string}, n: {type: integer}, list: {type: array}}}
start: a
budget: {steps: 9, tokens: 8, cost_micros: 7, seconds: 6}
keep: [list]
concurrency: {key: input.text, limit: 2}
on_failure: {any: fail}
output: {x: state.text, nested: {n: state.n, none: null}}
nodes:
  a:
    tool: {name: book}
    save: {text: result.id}
    require: ["state.n > 0"]
    ensure: ["result.id != ''"]
    timeout: 5s
    retry: {attempts: 2, on: [timeout], backoff: 1s}
    on_failure: {timeout: back, any: fail}
    undo: {name: cancel, arguments: {id: state.text}}
    next: end
  back: {handle: [{when: attempts > 1, next: last}, {compensate: {next: last}}]}
  last: {set: {n: 0}, next: end}
"""
    assert agent.graph().digest == parse_graph(yaml, "a.yaml").digest


def test_mistakes_are_told_with_their_line_in_the_yaml() -> None:
    agent = built(a=b.Node(b.Set({"n": "state.m"}), next="nowhere"))
    lines = agent.to_yaml().splitlines()
    found = {mistake.path: mistake.place.line for mistake in agent.check().mistakes if mistake.place}
    assert set(found) == {"nodes.a.set.n", "nodes.a.next"}
    assert "state.m" in lines[found["nodes.a.set.n"] - 1]
    with pytest.raises(InvalidGraph):
        agent.graph()


def test_what_was_built_stays_when_what_it_was_built_from_changes() -> None:
    fields: dict[str, object] = {"n": "1"}
    agent = built(a=b.Node(b.Set(fields), next=b.END))  # type: ignore[arg-type]
    declared = agent.declared()
    fields["n"] = "2"
    assert declared["nodes"] == {"a": {"set": {"n": "1"}, "next": "end"}}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_literal_text_is_the_expression_of_itself(literal: str) -> None:
    assert compile_expression(b.text(literal)).evaluate({}) == literal
