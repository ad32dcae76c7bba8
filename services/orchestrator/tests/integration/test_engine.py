"""What the engine promises, on a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LostSignals, failure, open_bench, pending
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.errors import IdempotencyKeyReused, InvalidInput, RunFinishedAlready, RunNotFound
from plimsoll_orchestrator.ports import JournalEntry, Refused, Returned
from plimsoll_runtime.errors import NotFound
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


async def test_a_run_finishes_with_the_output_its_graph_declares(bench: Bench) -> None:
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c1"})
    assert view.run.status is RunStatus.SUCCEEDED
    assert view.run.output == {"canary": "c1", "seen": ["c1", "c1", "c1"]}
    assert view.summary.steps == 4
    assert view.summary.finished_at is not None


async def test_runs_finish_though_every_wake_up_call_is_lost(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(STEPS)
        view = await bench.run("steps", {"canary": "c1"})
        assert view.run.status is RunStatus.SUCCEEDED


async def test_a_hundred_runs_at_once_never_see_each_other(bench: Bench) -> None:
    await bench.register(STEPS)
    canaries = [f"canary-{number}" for number in range(100)]
    async with bench.working(bench.worker("w1"), bench.worker("w2")):
        ids = await asyncio.gather(*(bench.start("steps", {"canary": canary}) for canary in canaries))
        views = await asyncio.gather(*(bench.ended(run_id) for run_id in ids))
    for canary, view in zip(canaries, views, strict=True):
        assert view.run.output == {"canary": canary, "seen": [canary] * 3}
        entries = await bench.runs.journal(TENANT, view.summary.run_id, 0, 500)
        assert [entry.seq for entry in entries] == list(range(1, view.summary.seq + 1))
        others = set(canaries) - {canary}
        assert not any(f'"{other}"' in str(entry.entry) for entry in entries for other in others)
    assert len({key for key, _, _ in bench.tools.executed}) == len(bench.tools.executed) == 100


ROUTED = """
agent: routed
input: {type: object, properties: {want: {type: string}}}
state: {type: object, properties: {want: {type: string}, got: {type: string}, why: {type: string}}}
start: call
output: {got: state.got, why: "has(state.why) ? state.why : ''"}
nodes:
  call:
    tool: {name: fetch, arguments: {want: state.want}}
    ensure: ["result.got != 'nothing'"]
    save: {got: result.got}
    retry: {attempts: 3, backoff: 10ms, on: [upstream_unavailable]}
    on_failure: {timeout: fallback, any: mend}
    next: end
  fallback: {set: {got: "'fallback'", why: failure.category}, next: end}
  mend:
    handle:
      - {when: "failure.category == 'rate_limited'", retry: true, limit: 2}
      - {when: "failure.category == 'context_invalid'", next: fallback}
      - {when: "failure.reason == 'PERSON'", escalate: "'help with ' + failure.where"}
      - fail: true
"""


async def test_a_failure_without_a_route_fails_the_run_visibly(bench: Bench) -> None:
    await bench.register(ROUTED)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    view = await bench.run("routed", {"want": "x"})
    assert view.run.status is RunStatus.FAILED
    assert view.run.failure is not None
    assert (view.run.failure.category, view.run.failure.where) == (Category.UPSTREAM_REJECTED, "fetch")


async def test_a_failure_takes_the_route_of_its_category(bench: Bench) -> None:
    await bench.register(ROUTED)
    bench.tools.reply = lambda *_: failure(Category.TIMEOUT)
    view = await bench.run("routed", {"want": "x"})
    assert view.run.output == {"got": "fallback", "why": "timeout"}


async def test_a_broken_ensure_is_an_explicit_failure_and_saves_nothing(bench: Bench) -> None:
    await bench.register(ROUTED)
    bench.tools.reply = lambda *_: Returned(result={"got": "nothing"})
    view = await bench.run("routed", {"want": "x"})
    assert view.run.output == {"got": "fallback", "why": "context_invalid"}


async def test_a_transient_failure_is_tried_again_under_a_new_call_key(bench: Bench) -> None:
    await bench.register(ROUTED)
    tries: list[int] = []

    def flaky(*_: object) -> Returned | Refused:
        tries.append(1)
        return failure(Category.UPSTREAM_UNAVAILABLE) if len(tries) < 3 else Returned(result={"got": "it"})

    bench.tools.reply = flaky
    view = await bench.run("routed", {"want": "x"})
    assert view.run.output == {"got": "it", "why": ""}
    assert len(tries) == 3


async def test_a_call_whose_answer_was_lost_is_asked_for_again_under_the_same_key(bench: Bench) -> None:
    """The tool-dispatcher acts, and is gone before it can say so: the retry finds the result and does not act again."""
    await bench.register(ROUTED)
    bench.tools.reply = lambda *_: Returned(result={"got": "it"})
    bench.tools.lose_answers = 2
    view = await bench.run("routed", {"want": "x"})
    assert view.run.output == {"got": "it", "why": ""}
    assert len(bench.tools.executed) == 1
    assert len(bench.tools.asked) == 3
    assert bench.tools.firsts == [bench.tools.executed[0][0]]  # the dispatcher looks the others up


async def test_a_call_is_said_to_be_the_first_only_by_the_first_claim_of_its_run(bench: Bench) -> None:
    await bench.register(STEPS)
    await bench.run("steps", {"canary": "c"})
    assert bench.tools.firsts == [key for key, _, _ in bench.tools.executed]
    run_id = await bench.start("steps", {"canary": "c"})
    [earlier] = await bench.claims.claim("earlier", 1, {})
    await bench.claims.release({run_id: earlier.epoch})
    async with bench.working():
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED
    assert (len(bench.tools.firsts), len(bench.tools.executed)) == (1, 2)


async def test_a_handler_retries_up_to_its_limit_and_then_fails(bench: Bench) -> None:
    await bench.register(ROUTED)
    tries: list[int] = []

    def limited(*_: object) -> Refused:
        tries.append(1)
        return failure(Category.RATE_LIMITED)

    bench.tools.reply = limited
    view = await bench.run("routed", {"want": "x"})
    assert view.run.status is RunStatus.FAILED
    assert len(tries) == 2


async def test_an_escalated_failure_waits_for_a_person_who_lets_it_try_again(bench: Bench) -> None:
    await bench.register(ROUTED)
    answers: list[Refused | Returned] = [failure(Category.TOOL_ERROR, "PERSON"), Returned(result={"got": "it"})]
    bench.tools.reply = lambda *_: answers.pop(0)
    async with bench.working():
        run_id = await bench.start("routed", {"want": "x"})
        asked = await pending(bench, run_id)
        assert asked.approval.summary == "help with fetch"
        await bench.control.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"got": "it", "why": ""}


async def test_an_error_of_ours_in_one_step_fails_that_run_only(bench: Bench) -> None:
    await bench.register(ROUTED)

    def broken(tool: str, arguments: object, grants: object) -> Returned:
        if arguments == {"want": "crash"}:
            raise ZeroDivisionError
        return Returned(result={"got": "it"})

    bench.tools.reply = broken
    async with bench.working():
        bad, good = await bench.start("routed", {"want": "crash"}), await bench.start("routed", {"want": "x"})
        assert (await bench.ended(good)).run.status is RunStatus.SUCCEEDED
        view = await bench.ended(bad)
    assert view.run.failure is not None
    assert view.run.failure.category is Category.INTERNAL


async def test_a_run_over_its_budget_fails_with_the_limit_named(bench: Bench) -> None:
    source = STEPS.replace("start: a", "start: a\nbudget: {steps: 2}")
    await bench.register(source)
    view = await bench.run("steps", {"canary": "c"})
    assert view.run.failure is not None
    assert view.run.failure.reason == "BUDGET_STEPS"


async def test_a_run_keeps_the_version_it_started_with(bench: Bench) -> None:
    await bench.register(STEPS)
    run_id = await bench.start("steps", {"canary": "c"})
    await bench.register(STEPS.replace("n: 1}, next: b", "n: 2}, next: b"))
    async with bench.working():
        view = await bench.ended(run_id)
    assert view.run.output == {"canary": "c", "seen": ["c", "c", "c"]}


async def test_the_same_key_and_input_is_the_same_run_and_another_input_is_refused(bench: Bench) -> None:
    await bench.register(STEPS)
    ids = await asyncio.gather(*(bench.start("steps", {"canary": "c"}, "key-1") for _ in range(20)))
    assert len(set(ids)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await bench.start("steps", {"canary": "other"}, "key-1")


async def test_an_input_that_breaks_the_schema_is_refused_with_its_path_and_leaves_nothing(bench: Bench) -> None:
    await bench.register(STEPS)
    with pytest.raises(InvalidInput) as refused:
        await bench.start("steps", {"canary": 3, "more": 1})
    assert {problem.field for problem in refused.value.problems} == {"input", "input.canary"}
    assert await bench.pool.fetchval("select count(*) from runs") == 0


async def test_another_tenants_run_is_not_there(bench: Bench) -> None:
    await bench.register(STEPS)
    run_id = await bench.start("steps", {"canary": "c"})
    with pytest.raises(RunNotFound):
        await bench.service.get_run("other", run_id)
    with pytest.raises(NotFound):
        await bench.control.cancel_run("other", run_id, "", "")
    assert await bench.runs.journal("other", run_id, 0, 10) == []


SAY = """
agent: say
input: {type: object}
state: {type: object, properties: {text: {type: string}}}
start: one
output: {text: state.text}
nodes:
  one: {model: {prompt: "p@production", variables: {}}, save: {text: result.text}, next: two}
  two: {model: {prompt: "p@production", variables: {}}, save: {text: result.text}, next: end}
"""


async def test_a_cancelled_run_is_taken_from_its_worker_and_stays_cancelled(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        run_id = await bench.start("steps", {"canary": "c"})

        async def under_way() -> bool:
            return (await bench.service.get_run(TENANT, run_id)).run.step is not None

        await eventually(under_way)
        view = await bench.control.cancel_run(TENANT, run_id, "changed my mind", "ann")
        assert view.run.status is RunStatus.CANCELLED
        bench.tools.gate.set()
    assert (await bench.control.cancel_run(TENANT, run_id, "once more", "bob")).summary == view.summary
    after = await bench.service.get_run(TENANT, run_id)
    assert after.summary == view.summary
    done = await bench.run("steps", {"canary": "d"})
    with pytest.raises(RunFinishedAlready):
        await bench.control.cancel_run(TENANT, done.summary.run_id, "", "")


async def test_g02_followers_who_ask_for_different_things_from_one_cursor_get_the_same_entries(bench: Bench) -> None:
    await bench.register(SAY)
    bench.models.pieces = ("Hel", "lo")

    async def entries(run_id: str, cursor: int, *, tokens: bool) -> list[JournalEntry]:
        following = bench.following.follow_run(TENANT, run_id, cursor, tokens=tokens)
        return [one async for _, one in following if isinstance(one, JournalEntry)]

    async with bench.working(), asyncio.TaskGroup() as group:
        run_id = await bench.start("say", {}, options=RunOptions(stream_tokens=True))
        live = [group.create_task(entries(run_id, cursor, tokens=tokens)) for cursor in (0, 2) for tokens in (False, True)]
    journal = list(await bench.runs.journal(TENANT, run_id, 0, 500))
    assert [task.result() for task in live] == [journal, journal, journal[2:], journal[2:]]
    for cursor in range(len(journal)):
        for tokens in (False, True):
            assert await entries(run_id, cursor, tokens=tokens) == journal[cursor:]


async def test_a_stream_from_any_cursor_equals_the_journal(bench: Bench) -> None:
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c"})
    run_id, journal = view.summary.run_id, await bench.runs.journal(TENANT, view.summary.run_id, 0, 500)
    for cursor in range(view.summary.seq + 2):
        followed = [entry async for _, entry in bench.following.follow_run(TENANT, run_id, cursor)]
        assert followed == list(journal[cursor:])
