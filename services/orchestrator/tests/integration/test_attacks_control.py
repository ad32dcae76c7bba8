"""Attacks on control: pauses, stops, threads and retries in the moments that suit them least."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LostSignals, failure, open_bench, pending
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.options import USUAL, RunOptions, ThreadPolicy
from plimsoll_orchestrator.errors import InvalidInput, MailboxFull, StepPruned, ThreadBusy
from plimsoll_orchestrator.ports import Returned, RunFilter
from plimsoll_orchestrator.service import Fork
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually

CHAT = """
agent: chat
keep: [history, say]
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, history: {type: array}}}
start: note
output: {history: state.history}
nodes:
  note: {set: {history: "(has(state.history) ? state.history : []) + [state.say]"}, next: ask}
  ask: {approve: {summary: state.say, details: {}, expires: 1h, on_rejected: end}, next: end}
"""
FAMILY = """
agent: family
input: {type: object, properties: {want: {type: string}}}
state: {type: object, properties: {want: {type: string}, price: {}}}
start: both
output: {want: state.want}
nodes:
  both: {parallel: {branches: {slow: ask, quick: fetch}, merge: {}}, next: end}
  ask: {approve: {summary: state.want, details: {}, expires: 1h}, next: join}
  fetch: {tool: {name: price, arguments: {of: state.want}}, save: {price: result.value}, next: join}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


def on(thread: str, policy: ThreadPolicy = ThreadPolicy.ENQUEUE) -> RunOptions:
    return RunOptions(thread_id=thread, thread_policy=policy)


async def status(bench: Bench, run_id: str) -> RunStatus:
    return (await bench.service.get_run(TENANT, run_id)).summary.status


async def decide(bench: Bench, run_id: str) -> None:
    view = await pending(bench, run_id)
    await bench.control.decide_approval(TENANT, view.approval.approval_id, True, "", "ann")


async def test_a_paused_run_stays_paused_when_its_question_is_answered_and_can_be_resumed(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        run_id = await bench.start("chat", {"say": "one"})
        await pending(bench, run_id)
        await bench.control.pause_run(TENANT, run_id, "hold it", "ann")
        await decide(bench, run_id)
        view = await bench.service.get_run(TENANT, run_id)
        assert (view.summary.status, view.run.status) == (RunStatus.PAUSED, RunStatus.PAUSED)
        await bench.control.resume_run(TENANT, run_id, "ann")
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def branch(bench: Bench, run_id: str) -> str:
    """The branch that asks, once it does."""

    async def asking() -> list[str]:
        children = await bench.service.list_runs(TENANT, RunFilter(parent_run_id=run_id, status=RunStatus.WAITING), "", 10)
        return [child.run_id for child in children if child.node == "ask"]

    [found] = await eventually(asking)
    return found


@pytest.mark.parametrize("late", [False, True])
async def test_a_paused_child_ends_when_its_parent_needs_it_no_more(bench: Bench, late: bool) -> None:
    """`late`: the demand to stop is in its mailbox already when somebody pauses it."""
    await bench.register(FAMILY)
    parent = await bench.start("family", {"want": "x"})
    bench.tools.reply = lambda *_: Returned(result={"value": 1})
    async with bench.working():
        child = await branch(bench, parent)
    if not late:
        await bench.control.pause_run(TENANT, child, "", "ann")
    await bench.control.cancel_run(TENANT, parent, "", "ann")
    if late:
        await bench.control.pause_run(TENANT, child, "", "ann")
    async with bench.working():
        assert (await bench.ended(child)).run.status is RunStatus.CANCELLED


async def test_a_paused_run_makes_room_for_one_that_interrupts_it(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await pending(bench, first)
        await bench.control.pause_run(TENANT, first, "", "ann")
        second = await bench.start("chat", {"say": "two"}, options=on("t1", ThreadPolicy.INTERRUPT))
        assert (await bench.ended(first)).run.status is RunStatus.CANCELLED
        await decide(bench, second)
        assert (await bench.ended(second)).run.output == {"history": ["one", "two"]}


async def test_a_paused_run_stays_paused_whatever_letters_come(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        run_id = await bench.start("chat", {"say": "one"})
        await pending(bench, run_id)
        await bench.control.signal_run(TENANT, run_id, "before", {}, "", "ann")
        await bench.control.pause_run(TENANT, run_id, "", "ann")
        await bench.control.signal_run(TENANT, run_id, "after", {}, "", "ann")
        settled = "select wake_at is null and worker is null and status = 'paused' from runs where run_id = $1"
        await eventually(lambda: bench.pool.fetchval(settled, run_id))
        await decide(bench, run_id)
        await bench.control.resume_run(TENANT, run_id, "ann")
        assert [one.name for one in (await bench.ended(run_id)).run.signals] == ["before", "after"]


async def test_a_run_that_never_had_its_turn_leaves_nothing_to_its_thread(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await decide(bench, first)
        await bench.ended(first)
        second = await bench.start("chat", {"say": "two"}, options=on("t1"))
        await pending(bench, second)
        queued = await bench.start("chat", {"say": "three"}, options=on("t1"))
        await bench.control.cancel_run(TENANT, queued, "", "ann")
        await decide(bench, second)
        await bench.ended(second)
        thread = await bench.service.get_thread(TENANT, "t1")
    assert thread.kept == {"history": ["one", "two"], "say": "two"}


async def test_cancelling_what_waits_in_an_idle_looking_thread_keeps_what_it_carries(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await decide(bench, first)
        await bench.ended(first)
    second = await bench.start("chat", {"say": "two"}, options=on("t1"))
    await bench.control.cancel_run(TENANT, second, "", "ann")
    assert (await bench.service.get_thread(TENANT, "t1")).kept == {"history": ["one"], "say": "one"}


async def test_what_retention_took_cannot_be_retried_or_asked(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    failed = await bench.run("steps", {"canary": "c"})
    run_id = failed.run.run_id
    await bench.pool.execute("update runs set pruned_seq = $2 where run_id = $1", run_id, failed.run.seq - 1)
    await bench.pool.execute("delete from journal where run_id = $1 and seq < $2", run_id, failed.run.seq)
    with pytest.raises(StepPruned):
        await bench.control.retry_run(TENANT, run_id, latest=False, idempotency_key="")
    with pytest.raises(StepPruned):
        await bench.control.query_run(TENANT, run_id, "state")
    assert (await bench.service.get_run(TENANT, run_id)).run.status is RunStatus.FAILED


HANDLED = """
agent: handled
input: {type: object, properties: {to: {type: string}}}
state: {type: object, properties: {to: {type: string}, id: {type: string}}}
start: book
output: {id: state.id}
nodes:
  book: {tool: {name: book, arguments: {to: state.to}}, save: {id: result.id}, on_failure: {any: mend}, next: end}
  mend: {handle: [{when: "failure.category == 'timeout'", retry: true, limit: 2}, {fail: true}]}
"""


async def test_a_run_whose_handler_gave_up_is_retried_at_the_node_that_failed(bench: Bench) -> None:
    await bench.register(HANDLED)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    failed = await bench.run("handled", {"to": "Rome"})
    assert failed.run.failure is not None
    bench.tools.reply = lambda *_: Returned(result={"id": "b1"})
    async with bench.working():
        started = await bench.control.retry_run(TENANT, failed.run.run_id, latest=False, idempotency_key="")
        retried = await bench.ended(started.view.run.run_id)
    assert (retried.run.status, retried.run.output) == (RunStatus.SUCCEEDED, {"id": "b1"})


async def test_input_for_a_run_of_another_agent_is_not_poured_into_it(bench: Bench) -> None:
    await bench.register(CHAT)
    await bench.register(STEPS)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await pending(bench, first)
        with pytest.raises(ThreadBusy):
            await bench.start("steps", {"canary": "c"}, options=on("t1", ThreadPolicy.STEER))


async def test_input_for_a_busy_run_has_the_bound_of_its_mailbox(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.adapters.admission.MAILBOX_CAP", 3)
    await bench.register(CHAT)
    await bench.start("chat", {"say": "one"}, options=on("t1"))
    for number in range(3):
        await bench.start("chat", {"say": f"more {number}"}, f"key {number}", on("t1", ThreadPolicy.STEER))
    with pytest.raises(MailboxFull):
        await bench.start("chat", {"say": "too much"}, "key 4", on("t1", ThreadPolicy.STEER))
    await bench.start("chat", {"say": "more 0"}, "key 0", on("t1", ThreadPolicy.STEER))


async def test_a_fork_keeps_to_the_size_of_an_input(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.service.control._CHANGES_CAP_BYTES", 1000)
    await bench.register(STEPS)
    original = await bench.run("steps", {"canary": "c"})
    with pytest.raises(InvalidInput, match="1000"):
        await bench.control.fork_run(TENANT, original.run.run_id, Fork(changes={"canary": "x" * 1000}, node="b"), USUAL, "")


async def test_a_question_cannot_blow_up_what_it_reads(bench: Bench) -> None:
    await bench.register(CHAT)
    run_id = await bench.start("chat", {"say": "x" * 1000})
    with pytest.raises(InvalidInput, match="thousands of times"):
        await bench.control.query_run(TENANT, run_id, f"state.say.replace('', '{'x' * 5000}')")


async def test_forks_and_retries_count_for_the_graphs_own_key(bench: Bench) -> None:
    await bench.register(CHAT + "concurrency: {key: input.say, limit: 1}\n")
    first = await bench.start("chat", {"say": "same"})
    forked = await bench.control.fork_run(TENANT, first, Fork(seq=1, changes={}), USUAL, "")
    assert await bench.pool.fetchval("select gated from runs where run_id = $1", forked.view.run.run_id)


async def test_the_same_fork_of_a_run_that_moved_on_is_found_by_its_key(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(CHAT)
        run_id = await bench.start("chat", {"say": "one"})
        first = await bench.control.fork_run(TENANT, run_id, Fork(changes={"say": "two"}), USUAL, "key")
        async with bench.working():
            await pending(bench, run_id)
        again = await bench.control.fork_run(TENANT, run_id, Fork(changes={"say": "two"}), USUAL, "key")
    assert (again.created, again.view.run.run_id) == (False, first.view.run.run_id)


async def test_a_run_that_was_set_aside_unread_can_be_resumed_once_it_is_readable(bench: Bench) -> None:
    await bench.register(STEPS)
    run_id = await bench.start("steps", {"canary": "c"})
    [claimed] = await bench.claims.claim("w0", 10, {})
    await bench.claims.set_aside(run_id, claimed.epoch, "JOURNAL_BROKEN: a kind of entry from the future", unreadable=True)
    assert await status(bench, run_id) is RunStatus.QUARANTINED
    await bench.control.resume_run(TENANT, run_id, "ann")
    async with bench.working():
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED
