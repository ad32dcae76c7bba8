"""Threads and gates: one run of a thread at a time, in order, and what happens to input that arrives while it is busy."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LocalSignals, LostSignals, answer, open_bench, pending
from plimsoll_orchestrator.domain.journal import ModelTurn, RunStatus, StepProgressed, ToolCall, ToolTurn
from plimsoll_orchestrator.domain.options import RunOptions, ThreadPolicy
from plimsoll_orchestrator.errors import ThreadBusy
from plimsoll_orchestrator.ports import Answer, Question
from plimsoll_testkit.waiting import eventually

CHAT = """
agent: chat
keep: [history]
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, history: {type: array}}}
start: note
output: {history: state.history}
nodes:
  note: {set: {history: "(has(state.history) ? state.history : []) + [state.say]"}, next: ask}
  ask: {approve: {summary: state.say, details: {}, expires: 1h, on_rejected: end}, next: end}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


def on(thread: str, policy: ThreadPolicy = ThreadPolicy.ENQUEUE) -> RunOptions:
    return RunOptions(thread_id=thread, thread_policy=policy)


async def decide(bench: Bench, run_id: str) -> None:
    view = await pending(bench, run_id)
    await bench.control.decide_approval(TENANT, view.approval.approval_id, True, "", "ann")


async def reason(bench: Bench, run_id: str) -> str:
    return (await bench.control.explain_run(TENANT, run_id))[0].reason


async def test_runs_of_a_thread_follow_each_other_and_share_what_they_keep(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        ids = [await bench.start("chat", {"say": word}, options=on("t1")) for word in ("one", "two", "three")]
        other = await bench.start("chat", {"say": "else"}, options=on("t2"))
        await pending(bench, ids[0])
        await pending(bench, other)
        assert await reason(bench, ids[1]) == "THREAD"
        for run_id in ids:
            await decide(bench, run_id)
            view = await bench.ended(run_id)
        assert view.run.output == {"history": ["one", "two", "three"]}
    thread = await bench.service.get_thread(TENANT, "t1")
    assert (thread.active_run_id, thread.queued_runs, thread.last_run_id) == ("", 0, ids[-1])
    assert thread.kept == {"history": ["one", "two", "three"]}


async def test_a_busy_thread_rejects_when_it_is_told_to(bench: Bench) -> None:
    await bench.register(CHAT)
    first = await bench.start("chat", {"say": "one"}, options=on("t1"))
    with pytest.raises(ThreadBusy, match=first):
        await bench.start("chat", {"say": "two"}, options=on("t1", ThreadPolicy.REJECT))
    await bench.start("chat", {"say": "two"}, options=on("t2", ThreadPolicy.REJECT))


@pytest.mark.parametrize(("policy", "history"), [(ThreadPolicy.INTERRUPT, ["one", "two"]), (ThreadPolicy.ROLLBACK, ["two"])])
async def test_a_run_that_is_superseded_leaves_its_progress_or_nothing(bench: Bench, policy: ThreadPolicy, history: list[str]) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await pending(bench, first)
        queued = await bench.start("chat", {"say": "later"}, options=on("t1"))
        second = await bench.start("chat", {"say": "two"}, options=on("t1", policy))
        ended = await bench.ended(first)
        assert ended.run.status is RunStatus.CANCELLED
        assert ended.run.failure is not None
        assert f"superseded by run {second}" in ended.run.failure.message
        await decide(bench, second)
        assert (await bench.ended(second)).run.output == {"history": history}
        await decide(bench, queued)
        assert (await bench.ended(queued)).run.output == {"history": [*history, "later"]}


AGENT = """
agent: helper
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, text: {type: string}}}
start: loop
output: {text: state.text}
nodes:
  loop: {agent: {prompt: help, tools: [look], turns: 5}, save: {text: result.text}, next: end}
"""


def replying(bench: Bench) -> None:
    def reply(question: Question) -> Answer:
        said = [str(turn.input) for turn in question.conversation if type(turn).__name__ == "InputTurn"]
        if not question.conversation:
            return answer(calls=[ToolCall(call_id="c1", tool="look", arguments={})])
        return answer(f"heard {said}")

    bench.models.reply = reply


async def test_input_for_a_busy_agent_reaches_it_after_the_calls_that_are_open(bench: Bench) -> None:
    await bench.register(AGENT)
    replying(bench)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        first = await bench.start("helper", {"say": "hi"}, options=on("t1"))
        await eventually(lambda: turns(bench, first))
        second = await bench.service.start_run(TENANT, "helper", {"say": "and hurry"}, "", on("t1", ThreadPolicy.STEER))
        assert (second.view.summary.run_id, second.steered, second.created) == (first, True, False)
        bench.tools.gate.set()
        view = await bench.ended(first)
    assert "and hurry" in str(view.run.output)
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, first, 0, 100)]
    kinds = [type(entry).__name__ for entry in entries]
    assert kinds.index("InputReceived") > max(place for place, entry in enumerate(entries) if is_answer(entry))


def is_answer(entry: object) -> bool:
    return isinstance(entry, StepProgressed) and isinstance(entry.turn, ToolTurn)


async def test_input_that_comes_during_the_last_step_is_read_before_the_run_ends(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        first = await bench.start("steps", {"canary": "old"}, options=on("t1"))
        await eventually(lambda: under_way(bench, first))
        await bench.service.start_run(TENANT, "steps", {"canary": "new"}, "", on("t1", ThreadPolicy.STEER))
        bench.tools.gate.set()
        view = await bench.ended(first)
    assert view.run.output == {"canary": "new", "seen": ["old", "old", "new"]}


@pytest.mark.parametrize("wakes", [True, False])
async def test_a_run_never_ends_with_input_unread(postgres_dsn: str, wakes: bool) -> None:
    """The input is accepted in the moment between the worker's last look and its commit of the end."""
    async with open_bench(postgres_dsn, LocalSignals() if wakes else LostSignals()) as bench:
        await bench.register(STEPS)
        async with bench.working():
            first = await bench.start("steps", {"canary": "old"}, options=on("t1"))
            steered, number = 0, 0
            while number < 50 and not (await bench.service.get_run(TENANT, first)).run.is_final:
                number += 1
                started = await bench.service.start_run(TENANT, "steps", {"canary": f"n{number}"}, "", on("t1", ThreadPolicy.STEER))
                steered += started.steered
            view = await bench.ended(first)
        entries = await bench.runs.journal(TENANT, first, 0, 500)
        read = [entry for entry in entries if type(entry.entry).__name__ == "InputReceived"]
        assert (view.run.status, len(read)) == (RunStatus.SUCCEEDED, steered)


async def under_way(bench: Bench, run_id: str) -> bool:
    return (await bench.service.get_run(TENANT, run_id)).run.step is not None


async def turns(bench: Bench, run_id: str) -> bool:
    step = (await bench.service.get_run(TENANT, run_id)).run.step
    return step is not None and bool(step.turns)


async def test_a_cancelled_agent_leaves_no_call_without_an_answer(bench: Bench) -> None:
    await bench.register(AGENT)
    replying(bench)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        first = await bench.start("helper", {"say": "hi"}, options=on("t1"))
        await eventually(lambda: turns(bench, first))
        await bench.start("helper", {"say": "stop"}, options=on("t1", ThreadPolicy.INTERRUPT))
        await bench.ended(first)
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, first, 0, 100)]
    asked = [
        call.call_id for one in entries if isinstance(one, StepProgressed) and isinstance(one.turn, ModelTurn) for call in one.turn.calls
    ]
    told = [one.call_id for entry in entries if is_answer(entry) for one in entry.turn.answers]
    assert asked == told == ["c1"]


async def test_no_more_runs_of_a_key_are_under_way_than_its_limit(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(STEPS)
        bench.tools.gate = asyncio.Event()
        limited = RunOptions(concurrency_key="customer-1", concurrency_limit=2)
        async with bench.working(bench.worker("w1"), bench.worker("w2")):
            ids = [await bench.start("steps", {"canary": f"c{n}"}, options=limited) for n in range(6)]
            free = await bench.start("steps", {"canary": "free"})
            await eventually(lambda: begun(bench, free))
            started = [run_id for run_id in ids if await begun(bench, run_id)]
            assert len(started) <= 2
            assert await reason(bench, ids[-1]) == "CONCURRENCY_KEY"
            bench.tools.gate.set()
            for run_id in ids:
                assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED
        assert await bench.pool.fetchval("select count(*) from gates") == 0


async def begun(bench: Bench, run_id: str) -> bool:
    summary = await bench.runs.summary(TENANT, run_id)
    return summary is not None and summary.started_at is not None


async def test_a_waiting_run_that_is_cancelled_makes_room(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        ids = [await bench.start("chat", {"say": word}, options=on("t1")) for word in ("one", "two", "three")]
        await bench.control.cancel_run(TENANT, ids[1], "no", "ann")
        await decide(bench, ids[0])
        await decide(bench, ids[2])
        assert (await bench.ended(ids[2])).run.output == {"history": ["one", "three"]}


async def test_a_key_given_twice_finds_the_run_that_waits(bench: Bench) -> None:
    await bench.register(CHAT)
    first = await bench.start("chat", {"say": "one"}, "key", on("t1"))
    assert await bench.start("chat", {"say": "one"}, "key", on("t1")) == first


async def test_the_graphs_own_key_counts_per_input(bench: Bench) -> None:
    await bench.register(CHAT + "concurrency: {key: input.say, limit: 1}\n")
    async with bench.working():
        first = await bench.start("chat", {"say": "same"})
        second = await bench.start("chat", {"say": "same"})
        other = await bench.start("chat", {"say": "other"})
        await pending(bench, first)
        await pending(bench, other)
        assert await reason(bench, second) == "CONCURRENCY_KEY"
        await decide(bench, first)
        await decide(bench, second)
        assert (await bench.ended(second)).run.status is RunStatus.SUCCEEDED
