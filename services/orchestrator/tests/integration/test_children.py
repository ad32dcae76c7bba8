"""Steps that start runs of their own: branches, subgraphs, distributed items."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import TENANT, Bench, LostSignals, failure, open_bench, pending
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.options import Limits, RunOptions
from plimsoll_orchestrator.ports import Returned, RunFilter
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


BRANCHES = """
agent: branches
input: {type: object, properties: {want: {type: string}}}
state:
  type: object
  properties: {want: {type: string}, price: {type: number}, news: {type: array}, seen: {type: array}, total: {type: number}, failed: {type: integer}}
start: begin
output: {price: "has(state.price) ? state.price : 0", seen: state.seen, total: state.total, failed: "has(state.failed) ? state.failed : 0"}
nodes:
  begin: {set: {seen: "['begin']", total: 1}, next: both}
  both:
    parallel:
      branches: {prices: fetch_price, news: fetch_news}
      on_branch_failure: POLICY
      merge: {seen: append, total: sum}
    save: {failed: "size(result.failures)"}
    next: end
  fetch_price: {tool: {name: price, arguments: {of: state.want}}, save: {price: result.value}, next: note_price}
  note_price: {set: {seen: "state.seen + ['price']", total: "state.total + 10"}, next: join}
  fetch_news: {tool: {name: news, arguments: {of: state.want}}, save: {seen: "state.seen + ['news']", total: "state.total + 100"}, next: join}
"""


async def test_branches_run_side_by_side_and_what_they_changed_is_joined(bench: Bench) -> None:
    await bench.register(BRANCHES.replace("POLICY", "fail"))
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"value": 7})
    view = await bench.run("branches", {"want": "x"})
    assert view.run.output == {"price": 7, "seen": ["begin", "price", "news"], "total": 111, "failed": 0}
    children = await bench.service.list_runs(TENANT, RunFilter(parent_run_id=view.run.run_id), "", 10)
    assert {child.status for child in children} == {RunStatus.SUCCEEDED}
    assert len(await bench.service.list_runs(TENANT, RunFilter(), "", 10)) == 1


async def test_a_failed_branch_is_collected_when_the_node_says_so(bench: Bench) -> None:
    await bench.register(BRANCHES.replace("POLICY", "collect"))
    bench.tools.reply = lambda tool, arguments, grants: failure(Category.TIMEOUT) if tool == "price" else Returned(result={"value": 7})
    view = await bench.run("branches", {"want": "x"})
    assert view.run.output == {"price": 0, "seen": ["begin", "news"], "total": 101, "failed": 1}


async def test_a_failed_branch_fails_its_step_and_stops_the_others(bench: Bench) -> None:
    await bench.register(BRANCHES.replace("POLICY", "fail"))
    bench.tools.reply = lambda tool, arguments, grants: failure(Category.TIMEOUT)
    view = await bench.run("branches", {"want": "x"})
    assert view.run.status is RunStatus.FAILED
    assert view.run.failure is not None
    assert view.run.failure.category is Category.TIMEOUT
    children = await bench.service.list_runs(TENANT, RunFilter(parent_run_id=view.run.run_id), "", 10)
    assert all(child.finished_at is not None for child in children)


async def test_a_branch_reads_and_writes_the_thread_of_its_run(bench: Bench) -> None:
    await bench.register(
        """
agent: talk
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, turns: {type: array}}}
start: both
output: {turns: state.turns}
nodes:
  both: {parallel: {branches: {note: note}}, next: recall}
  note: {remember: {thread: true, turns: [{user: state.say}]}, next: join}
  recall: {retrieve: {thread: true}, save: {turns: result.turns}, next: end}
"""
    )
    async with bench.working():
        view = await bench.ended(await bench.start("talk", {"say": "hi"}, options=RunOptions(thread_id="t1")))
    assert view.run.output == {"turns": [{"origin": "user", "text": "hi"}]}


CHILD = """
agent: child
input: {type: object, properties: {n: {type: integer}}, required: [n], additionalProperties: false}
state: {type: object, properties: {n: {type: integer}, twice: {type: integer}}}
start: double
output: {twice: state.twice}
nodes:
  double: {tool: {name: double, arguments: {n: state.n}}, save: {twice: result.twice}, next: end}
"""
PARENT = """
agent: parent
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}, got: {type: integer}}}
start: ask
output: {got: state.got}
nodes:
  ask: {subgraph: {agent: child, input: {n: state.n}}, save: {got: result.twice}, on_failure: {any: mend}, next: end}
  mend: {set: {got: "-1"}, next: end}
"""


async def test_a_subgraph_has_a_state_of_its_own_and_answers_with_its_output(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(PARENT)
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"twice": 2 * arguments["n"]})
    view = await bench.run("parent", {"n": 21})
    assert view.run.output == {"got": 42}


async def test_a_subgraph_stays_on_the_version_that_was_pinned(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(PARENT)
    await bench.register(CHILD.replace("result.twice", "result.twice + 1000"))
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"twice": 2 * arguments["n"]})
    assert (await bench.run("parent", {"n": 21})).run.output == {"got": 42}
    await bench.register(PARENT)
    assert (await bench.run("parent", {"n": 21})).run.output == {"got": 1042}


async def test_input_that_the_subgraph_refuses_is_a_failure_of_the_step(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(PARENT.replace("{n: state.n}", "{n: \"'one'\"}"))
    assert (await bench.run("parent", {"n": 1})).run.output == {"got": -1}


EACH = """
agent: each
input: {type: object, properties: {count: {type: integer}}}
state: {type: object, properties: {count: {type: integer}, sum: {type: integer}, failed: {type: integer}}}
start: all
output: {sum: state.sum, failed: state.failed}
nodes:
  all:
    map:
      over: "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
      mode: distributed
      concurrency: 3
      on_item_failure: POLICY
      reduce: {initial: "0", each: "acc + item.twice"}
      do: {subgraph: {agent: child, input: {n: item}}}
    save: {sum: result.reduced, failed: "size(result.failures)"}
    next: end
"""


async def test_items_are_spread_over_the_workers_within_the_bound_and_reduced(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(EACH.replace("POLICY", "fail"))
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"twice": 2 * arguments["n"]})
    async with bench.working(bench.worker("w1"), bench.worker("w2")):
        view = await bench.ended(await bench.start("each", {"count": 10}))
    assert view.run.output == {"sum": 110, "failed": 0}
    assert len(bench.tools.executed) == 10
    open_at_once, most = 0, 0
    for entry in await bench.runs.journal(TENANT, view.run.run_id, 0, 500):
        open_at_once += len(getattr(entry.entry, "children", ())) * (1 if type(entry.entry).__name__ == "ChildrenStarted" else -1)
        most = max(most, open_at_once)
    assert most == 3


@pytest.mark.parametrize(
    ("policy", "bad", "status"),
    [("collect", {3, 4}, RunStatus.SUCCEEDED), ("{}", set(), RunStatus.SUCCEEDED), ("fail", {3}, RunStatus.FAILED)],
)
async def test_failed_items_mean_what_the_policy_says(bench: Bench, policy: str, bad: set[int], status: RunStatus) -> None:
    await bench.register(CHILD)
    source = EACH.replace("POLICY", policy) if policy != "{}" else EACH.replace("POLICY", "quorum\n      quorum: 0.8")
    await bench.register(source)
    bad = bad or {1, 2}
    bench.tools.reply = lambda tool, arguments, grants: (
        failure(Category.UPSTREAM_REJECTED) if arguments["n"] in bad else Returned(result={"twice": 2 * arguments["n"]})
    )
    view = await bench.run("each", {"count": 10})
    assert view.run.status is status
    if status is RunStatus.SUCCEEDED:
        assert view.run.output == {"sum": 110 - 2 * sum(bad), "failed": len(bad)}


async def test_a_map_opens_no_more_items_once_the_budget_is_used_up(bench: Bench) -> None:
    await bench.register(
        CHILD.replace("tool: {name: double, arguments: {n: state.n}}", "model: {prompt: 'p@1', variables: {}}").replace("result.twice", "1")
    )
    await bench.register(EACH.replace("POLICY", "collect"))
    async with bench.working():
        view = await bench.ended(await bench.start("each", {"count": 10}, options=RunOptions(budget=Limits(tokens=40))))
    assert view.run.failure is not None
    assert view.run.failure.reason == "BUDGET_TOKENS"
    assert len(bench.models.asked) < 10


async def test_a_quorum_that_is_missed_is_a_failure_with_its_count(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(EACH.replace("POLICY", "quorum\n      quorum: 0.8"))
    bench.tools.reply = lambda tool, arguments, grants: (
        failure(Category.UPSTREAM_REJECTED) if arguments["n"] <= 3 else Returned(result={"twice": 1})
    )
    view = await bench.run("each", {"count": 10})
    assert view.run.failure is not None
    assert view.run.failure.reason == "QUORUM_MISSED"
    assert "3 of 10" in view.run.failure.message


async def test_children_join_though_every_wake_up_call_is_lost(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(CHILD)
        await bench.register(PARENT)
        bench.tools.reply = lambda tool, arguments, grants: Returned(result={"twice": 2 * arguments["n"]})
        assert (await bench.run("parent", {"n": 4})).run.output == {"got": 8}


ASKING = """
agent: child
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}, twice: {type: integer}}}
start: ask
output: {twice: state.n}
nodes:
  ask: {approve: {summary: "'go on?'", details: {}, expires: 1h}, next: end}
"""


async def test_a_cancel_reaches_children_of_children(bench: Bench) -> None:
    await bench.register(ASKING)
    await bench.register(PARENT)
    await bench.register(
        PARENT.replace("agent: parent", "agent: grandparent").replace("agent: child", "agent: parent").replace("result.twice", "result.got")
    )
    async with bench.working():
        top = await bench.start("grandparent", {"n": 1})
        [middle] = await eventually(lambda: bench.service.list_runs(TENANT, RunFilter(parent_run_id=top), "", 5))
        [bottom] = await eventually(lambda: bench.service.list_runs(TENANT, RunFilter(parent_run_id=middle.run_id), "", 5))
        await pending(bench, bottom.run_id)
        await bench.control.cancel_run(TENANT, top, "no longer needed", "ann")
        view = await bench.ended(bottom.run_id)
    assert view.run.status is RunStatus.CANCELLED
    assert view.run.failure is not None
    assert middle.run_id in view.run.failure.message


async def test_a_call_in_flight_of_a_child_is_told_to_stop(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(PARENT)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        top = await bench.start("parent", {"n": 1})
        [child] = await eventually(lambda: bench.service.list_runs(TENANT, RunFilter(parent_run_id=top), "", 5))
        await eventually(lambda: started(bench, child.run_id))
        await bench.control.cancel_run(TENANT, top, "enough", "ann")
        view = await bench.ended(child.run_id)
    assert view.run.status is RunStatus.CANCELLED
    assert bench.tools.executed == []


async def started(bench: Bench, run_id: str) -> bool:
    return (await bench.service.get_run(TENANT, run_id)).run.step is not None


async def test_a_map_over_too_many_items_is_refused_before_anything_starts(bench: Bench) -> None:
    await bench.register(CHILD)
    many = (
        EACH.replace("POLICY", "fail")
        .replace("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "state.items")
        .replace("count: {type: integer}", "count: {type: integer}, items: {type: array, items: {type: integer}}")
    )
    await bench.register(many)
    view = await bench.run("each", {"items": list(range(100_001))})
    assert view.run.failure is not None
    assert view.run.failure.reason == "TOO_MANY_ITEMS"
    assert len(await bench.service.list_runs(TENANT, RunFilter(parent_run_id=view.run.run_id), "", 5)) == 0
