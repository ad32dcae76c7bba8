"""Every kind of node and every field of it is read as it was declared."""

import pytest
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.expression import Expression
from plimsoll_graph.graph import (
    AgentNode,
    ApproveNode,
    Compensate,
    Concurrency,
    Escalate,
    FactTemplate,
    FailurePolicy,
    GiveUp,
    GoTo,
    Graph,
    HandleNode,
    MapNode,
    Merge,
    ParallelNode,
    RecallNode,
    Reducer,
    RememberNode,
    Retry,
    SignalNode,
    SubgraphNode,
    TimerNode,
    ToolNode,
    TurnTemplate,
)
from plimsoll_graph.parse import load_graph, parse_graph

FULL = """
agent: full
input: {type: object, properties: {customer: {type: string}, list: {type: array, items: {type: string}}}}
state:
  type: object
  properties: {customer: {type: string}, list: {type: array, items: {type: string}}, found: {type: array}, n: {type: integer}, booking: {type: string}}
start: loop
budget: {steps: 50}
keep: [list]
concurrency: {key: input.customer, limit: 3}
on_failure: {timeout: mend, any: fail}
output: {n: state.n}
nodes:
  loop: {agent: {prompt: loop@2, tools: [look, book], turns: 4, tokens: 20000, cost_micros: 50000}, next: recall}
  recall: {retrieve: {thread: true, max_tokens: 500, query: state.customer}, next: note}
  note:
    remember:
      thread: true
      learn: true
      turns: [{user: state.customer}, {assistant: "'hello'"}]
      facts: [{text: "'likes tea'", attribute: taste}]
    next: file
  file: {remember: {collection: customers, facts: [{subject: state.customer, text: "'is loud'", origin: tool}]}, next: each}
  each:
    map:
      over: state.list
      mode: distributed
      concurrency: 100
      on_item_failure: quorum
      quorum: 0.8
      reduce: {initial: "0", each: acc + index}
      do: {subgraph: {agent: child, input: {name: item}}}
    save: {n: result.reduced}
    next: both
  both:
    parallel: {branches: {prices: fetch_prices, news: fetch_news}, on_branch_failure: collect, merge: {found: append}}
    next: child
  fetch_prices: {tool: {name: prices}, save: {found: result.list}, next: join}
  fetch_news: {tool: {name: news}, save: {found: result.list}, next: join}
  child: {subgraph: {agent: child, digest: DIGEST, input: {name: state.customer}}, next: pause}
  pause: {wait: {for: 30s}, next: until}
  until: {wait: {until: "'2026-01-01T00:00:00Z'"}, next: answer}
  answer:
    wait: {signal: replied, where: signal.payload.who == state.customer, expires: 2h, on_expired: ask}
    next: ask
  ask: {approve: {summary: "'Book?'", expires: 1h, on_rejected: end, on_expired: end}, next: book}
  book:
    tool: {name: book, arguments: {who: state.customer}}
    undo: {name: cancel_booking, arguments: {id: state.booking}}
    save: {booking: result.id}
    on_failure: {any: mend}
    next: end
  mend:
    handle:
      - {when: attempts < 2, retry: true, limit: 2}
      - {when: failure.retryable, escalate: "'Help'"}
      - {when: failure.category == 'timeout', compensate: {next: ask}}
      - {when: failure.category == 'tool_error', next: ask}
      - {when: failure.category == 'internal', compensate: {}}
      - {fail: true}
""".replace("DIGEST", "ab" * 32)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return parse_graph(FULL, "full.yaml")


def test_fields_of_the_graph(graph: Graph) -> None:
    assert graph.keep == ("list",)
    assert graph.concurrency == Concurrency(key=Expression("input.customer"), limit=3)
    assert graph.on_failure == {"timeout": "mend", "any": "fail"}


def test_an_agent_may_be_given_all_tools_whose_names_begin_alike() -> None:
    kind = parse_graph(FULL.replace("tools: [look, book]", "tools: [look, 'shop_*']"), "full.yaml").nodes["loop"].kind
    assert isinstance(kind, AgentNode)
    assert kind.tools == ("look", "shop_*")


def test_an_agent_loop_has_limits_of_its_own(graph: Graph) -> None:
    kind = graph.nodes["loop"].kind
    assert isinstance(kind, AgentNode)
    assert (kind.tools, kind.turns, kind.tokens, kind.cost_micros) == (("look", "book"), 4, 20000, 50000)


def test_a_thread_is_recalled_and_remembered(graph: Graph) -> None:
    assert graph.nodes["recall"].kind == RecallNode(max_tokens=500, query=Expression("state.customer"))
    assert graph.nodes["recall"].kind_name == "retrieve"
    assert graph.nodes["note"].kind == RememberNode(
        collection="",
        turns=(
            TurnTemplate(origin="user", text=Expression("state.customer")),
            TurnTemplate(origin="assistant", text=Expression("'hello'")),
        ),
        facts=(FactTemplate(subject=None, attribute="taste", text=Expression("'likes tea'"), origin="user"),),
        learn=True,
    )


def test_facts_go_into_a_collection(graph: Graph) -> None:
    kind = graph.nodes["file"].kind
    assert isinstance(kind, RememberNode)
    assert (kind.collection, kind.turns, kind.learn) == ("customers", (), False)
    assert kind.facts == (FactTemplate(subject=Expression("state.customer"), attribute="", text=Expression("'is loud'"), origin="tool"),)


def test_a_map_is_distributed_with_a_quorum_and_a_reducer(graph: Graph) -> None:
    kind = graph.nodes["each"].kind
    assert isinstance(kind, MapNode)
    assert (kind.distributed, kind.concurrency, kind.policy, kind.quorum) == (True, 100, FailurePolicy.QUORUM, 0.8)
    assert kind.reduce == Reducer(initial=Expression("0"), each=Expression("acc + index"))
    assert kind.body == SubgraphNode(agent="child", digest="", input={"name": Expression("item")})


def test_branches_side_by_side(graph: Graph) -> None:
    assert graph.nodes["both"].kind == ParallelNode(
        branches={"prices": "fetch_prices", "news": "fetch_news"}, policy=FailurePolicy.COLLECT, merge={"found": Merge.APPEND}
    )


def test_a_subgraph_may_be_pinned_by_hand(graph: Graph) -> None:
    kind = graph.nodes["child"].kind
    assert isinstance(kind, SubgraphNode)
    assert kind.digest == "ab" * 32


def test_waiting_for_time_and_for_signals(graph: Graph) -> None:
    assert graph.nodes["pause"].kind == TimerNode(seconds=30.0, until=None)
    assert graph.nodes["until"].kind == TimerNode(seconds=0.0, until=Expression("'2026-01-01T00:00:00Z'"))
    where = Expression("signal.payload.who == state.customer")
    assert graph.nodes["answer"].kind == SignalNode(signal="replied", where=where, expires_s=7200.0, on_expired="ask")
    assert isinstance(graph.nodes["ask"].kind, ApproveNode)


def test_a_tool_says_how_it_is_undone(graph: Graph) -> None:
    assert graph.nodes["book"].undo == ToolNode(tool="cancel_booking", arguments={"id": Expression("state.booking")})


def test_every_remedy(graph: Graph) -> None:
    kind = graph.nodes["mend"].kind
    assert isinstance(kind, HandleNode)
    remedies = [case.remedy for case in kind.cases]
    expected = [
        Retry(limit=2),
        Escalate(summary=Expression("'Help'")),
        Compensate(next="ask"),
        GoTo(next="ask"),
        Compensate(next=""),
        GiveUp(),
    ]
    assert remedies == expected


def test_a_registered_graph_is_read_again_from_its_canonical_form(graph: Graph) -> None:
    again = load_graph(graph.canonical)
    assert again == graph
    assert again.digest == graph.digest


def test_a_registered_graph_outlives_rules_that_came_after_it() -> None:
    """Loading looks at the form only: here a node that cannot be reached and an expression that must fail."""
    canonical = parse_graph(FULL, "full.yaml").canonical
    nodes = canonical["nodes"]
    assert isinstance(nodes, dict)
    older = load_graph(canonical | {"nodes": nodes | {"lost": {"set": {"n": "state.nothing + 'x'"}, "next": "end"}}})
    assert "lost" in older.nodes
    with pytest.raises(InvalidGraph):
        load_graph({"agent": "no graph at all"})


@pytest.mark.parametrize(
    ("old", "new", "field", "problem"),
    [
        ("thread: true, max_tokens", "thread: true, collection: help, max_tokens", "recall.retrieve.collection", "stands beside `thread`"),
        ("thread: true, max_tokens", "thread: maybe, max_tokens", "recall.retrieve.thread", "is 'maybe'"),
        ("{user: state.customer}", "{friend: state.customer}", "note.remember.turns[0].friend", "is not known here"),
        ("origin: tool", "origin: gossip", "file.remember.facts[0].origin", "is 'gossip'"),
        ("subject: state.customer, text", "text", "file.remember.facts[0].subject", "is missing"),
        ("collection: customers,", "collection: customers, learn: true,", "file.remember.learn", "has no meaning for a collection"),
        ("quorum: 0.8", "quorum: 80", "each.map.quorum", "is 80"),
        ("on_item_failure: quorum", "on_item_failure: fail", "each.map.quorum", "has no meaning without `on_item_failure: quorum`"),
        ("mode: distributed", "mode: spread", "each.map.mode", "is 'spread'"),
        ("mode: distributed", "mode: inline", "each.map.concurrency", "is 100"),
        ("each: acc + index", "each: acc + index, all: x", "each.map.reduce.all", "is not known here"),
        ("on_branch_failure: collect", "on_branch_failure: quorum", "both.parallel.on_branch_failure", "is 'quorum'"),
        ("merge: {found: append}", "merge: {found: blend}", "both.parallel.merge.found", "is 'blend'"),
        ("merge: {found: append}", "merge: {found: sum}", "both.parallel.merge.found", "is 'sum', which takes"),
        ("digest: " + "ab" * 32, "digest: newest", "child.subgraph.digest", "is 'newest'"),
        ("for: 30s", "for: 30", "pause.wait.for", "is 30"),
        ("for: 30s", "for: 1000d", "pause.wait.for", "is '1000d'"),
        ("for: 30s", "for: 30s, until: state.customer", "pause.wait", "does not wait for exactly one thing"),
        ("signal: replied", "signal: Replied!", "answer.wait.signal", "is 'Replied!'"),
        ("compensate: {next: ask}", "compensate: {to: ask}", "mend.handle[2].compensate.to", "is not known here"),
        ("retry: true, limit: 2", "retry: twice, limit: 2", "mend.handle[0].retry", "is 'twice'"),
        ("{fail: true}", "{fail: true, next: ask}", "mend.handle[5]", "does not have exactly one remedy"),
        ("tools: [look, book]", "tools: [look, look]", "loop.agent.tools[1]", "names 'look' twice"),
        ("tools: [look, book]", "tools: ['*']", "loop.agent.tools[0]", "is '*'"),
        ("tools: [look, book]", "tools: ['lo*k']", "loop.agent.tools[0]", "is 'lo*k'"),
        ("tokens: 20000", "tokens: -1", "loop.agent.tokens", "is -1"),
        ("prompt: loop@2", "prompt: loop@Two!", "loop.agent.prompt", "asks for 'Two!'"),
        ("{wait: {for: 30s}, next", "{wait: {for: 30s}, undo: {name: x}, next", "pause.undo", "stands on a wait node"),
        ("{wait: {for: 30s}, next", "{wait: {for: 30s}, retry: {attempts: 3}, next", "pause.retry.on", "is missing"),
    ],
)
def test_a_field_that_cannot_be_is_named(old: str, new: str, field: str, problem: str) -> None:
    assert old in FULL
    with pytest.raises(InvalidGraph) as refused:
        parse_graph(FULL.replace(old, new, 1), "full.yaml")
    found = [one.problem for one in refused.value.problems if one.field.endswith(f": nodes.{field}")]
    assert found, refused.value.problems
    assert found[0].startswith(problem)
