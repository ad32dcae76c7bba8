"""What a run has read goes wherever its values go: policy is told of it at every call."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import TENANT, Bench, answer, open_bench
from plimsoll_orchestrator.domain.journal import RunStatus, ToolCall
from plimsoll_orchestrator.domain.options import USUAL, RunOptions
from plimsoll_orchestrator.ports import Note, Returned, Turned
from plimsoll_orchestrator.service import Fork
from plimsoll_runtime.work import WorkContext

MEMORY = ("reads:private", "reads:untrusted")
HEAD = "state: {type: object, properties: {text: {}}}\n"
SEARCH = """{retrieve: {collection: help, query: "'refunds'"}, save: {text: "result.passages[0].text"}, next: send}"""
READ = "{tool: {name: sheet, arguments: {}}, save: {text: result.text}, next: send}"
SEND = "{tool: {name: mail, arguments: {}}, next: end}"
RECALL = """{retrieve: {thread: true}, save: {text: "string(result.turns.size())"}, next: send}"""
MAP = """{map: {over: "['a', 'b']", do: {retrieve: {collection: help, query: item}}}, save: {text: "string(result.items.size())"}, next: send}"""
LOOP = '{agent: {prompt: "p@production", variables: {}, tools: [sheet], turns: 3}, save: {text: result.text}, next: send}'
SPLIT = "{parallel: {branches: {left: search, right: write}, merge: {}}, next: send}"
BRANCH = """{retrieve: {collection: help, query: "'refunds'"}, save: {text: "result.passages[0].text"}, next: join}"""
WRITE = "{tool: {name: note, arguments: {}}, next: join}"
ASK = "{subgraph: {agent: child, input: {}}, save: {text: result.text}, next: send}"


def graph(agent: str, *, start: str, keep: str = "", **nodes: str) -> str:
    lines = [f"agent: {agent}", "input: {type: object}", HEAD.strip(), f"start: {start}", "output: {text: state.text}", keep, "nodes:"]
    return "\n".join([*lines, *(f"  {name}: {node}" for name, node in nodes.items())])


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        bench.tools.reply = lambda tool, arguments, grants: Returned(
            result={"text": "rows"}, labels=("reads:private",) if tool == "sheet" else ()
        )
        await bench.register(graph("child", start="search", search=SEARCH.replace("next: send", "next: end")))
        yield bench


@pytest.mark.parametrize(
    ("nodes", "read"),
    [
        ({"first": "{set: {text: \"'none'\"}, next: send}"}, ()),
        ({"first": SEARCH}, MEMORY),
        ({"first": READ}, ("reads:private",)),
        ({"first": READ.replace("next: send", "next: search"), "search": SEARCH}, MEMORY),
        ({"first": MAP}, MEMORY),
        ({"first": LOOP}, ("reads:private",)),
        ({"first": ASK}, MEMORY),
        ({"first": SPLIT, "search": BRANCH, "write": WRITE}, MEMORY),
    ],
    ids=["nothing", "a search", "a tool", "both", "searches of a map", "an agent's tool", "a run that it started", "a branch"],
)
async def test_a_call_is_told_what_its_run_has_read(bench: Bench, nodes: dict[str, str], read: tuple[str, ...]) -> None:
    turns = [answer(calls=[ToolCall(call_id="c1", tool="sheet", arguments={})]), answer("done")]
    bench.models.reply = lambda _: turns[len(bench.models.asked) - 1]
    await bench.register(graph("reader", start="first", **nodes, send=SEND))
    view = await bench.run("reader", {})
    assert view.run.status is RunStatus.SUCCEEDED, view.run.failure
    assert bench.tools.read["mail"] == read
    assert bench.tools.read.get("note", ()) == (), "a branch beside another knows nothing of it"
    assert view.run.labels == read


async def test_a_fork_a_retry_and_a_child_begin_with_what_was_read_before_them(bench: Bench) -> None:
    later = "{subgraph: {agent: sender, input: {}}, save: {text: \"'x'\"}, next: gone}"
    await bench.register(graph("sender", start="send", send=SEND))
    gone = """{set: {text: "1 / (state.text == 'never' ? 1 : 0)"}, next: end}"""
    await bench.register(graph("reader", start="search", search=SEARCH.replace("send", "later"), later=later, gone=gone))
    view = await bench.run("reader", {})
    assert view.run.status is RunStatus.FAILED
    assert bench.tools.read.pop("mail") == MEMORY
    async with bench.working():
        forked = await bench.control.fork_run(TENANT, view.run.run_id, Fork(node="later", changes={}), USUAL, "")
        await bench.ended(forked.view.run.run_id)
        assert bench.tools.read.pop("mail") == MEMORY
        retried = await bench.control.retry_run(TENANT, view.run.run_id, False, "")
        assert (await bench.ended(retried.view.run.run_id)).run.labels == MEMORY
        early = await bench.control.fork_run(TENANT, view.run.run_id, Fork(seq=1, node="later", changes={}), USUAL, "")
        await bench.ended(early.view.run.run_id)
        assert bench.tools.read.pop("mail") == (), "it was forked before anything was read"


async def test_what_a_thread_carries_and_recalls_is_known_for_what_it_is(bench: Bench) -> None:
    await bench.register(graph("searcher", start="search", keep="keep: [text]", search=SEARCH, send=SEND))
    await bench.register(graph("sender", start="send", keep="keep: [text]", send=SEND))
    await bench.register(graph("recaller", start="recall", recall=RECALL, send=SEND))
    said = Turned(origin="user", text="hello")
    await bench.memory.remember(Note(key="k", thread_id="t4", collection="", turns=[said], facts=(), learn=False), WorkContext())
    async with bench.working():
        for agent, thread, read in (
            ("sender", "t1", ()),
            ("searcher", "t1", MEMORY),
            ("sender", "t1", MEMORY),
            ("sender", "t2", ()),
            ("recaller", "t3", ()),
            ("recaller", "t4", MEMORY),
        ):
            await bench.ended(await bench.start(agent, {}, options=RunOptions(thread_id=thread)))
            assert bench.tools.read.pop("mail") == read, (agent, thread)
