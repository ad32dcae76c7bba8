"""What the engine promises, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import pytest
from orchestrator_fakes import TENANT, Bench, LostSignals, answer, open_bench
from plimsoll_orchestrator.adapters.postgres_runs import DatabaseClock, PostgresRunStore
from plimsoll_orchestrator.domain.journal import ApprovalAsked, ApprovalStatus, Proposal, RunStatus, ToolCall
from plimsoll_orchestrator.errors import ApprovalDecidedAlready, IdempotencyKeyReused, InvalidInput, RunFinishedAlready, RunNotFound
from plimsoll_orchestrator.ports import Append, ApprovalView, NeedsApproval, NoAnswer, Refused, Returned
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import Internal, Invalid, NotFound
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


STEPS = """
agent: steps
input: {type: object, properties: {canary: {type: string}}, required: [canary], additionalProperties: false}
state:
  type: object
  properties: {canary: {type: string}, seen: {type: array}, n: {type: integer}}
start: a
output: {canary: state.canary, seen: state.seen}
nodes:
  a: {set: {seen: "[state.canary]", n: 1}, next: b}
  b: {tool: {name: echo, arguments: {value: state.canary}}, save: {seen: "state.seen + [result.value]"}, next: c}
  c: {decide: {branches: [{when: "state.n == 1", next: d}], default: end}}
  d: {set: {seen: "state.seen + [state.canary]"}, next: end}
"""


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


def failure(category: Category, reason: str = "TEST", **more: bool) -> Refused:
    return Refused(failure=Failure(category=category, reason=reason, message="on purpose", where="fetch", **more))


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
        await bench.service.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="", decided_by="ann")
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


REFUND = """
agent: refund
input: {type: object, properties: {amount: {type: number}}, required: [amount]}
state: {type: object, properties: {amount: {type: number}, done: {type: boolean}, note: {type: string}}}
start: pay
output: {done: "has(state.done) && state.done", note: "has(state.note) ? state.note : ''"}
nodes:
  pay:
    tool: {name: refund, arguments: {amount: state.amount}}
    save: {done: result.done}
    on_failure: {approval_rejected: explain}
    next: end
  explain: {set: {note: failure.message}, next: end}
"""
PROPOSAL = Proposal(tool="refund", tool_digest="t", effective_arguments={"amount": 900}, call_digest="digest-of-the-call")


async def pending(bench: Bench, run_id: str) -> ApprovalView:
    """The question that a run asks, once it does."""
    [found] = await eventually(lambda: bench.service.list_approvals(TENANT, ApprovalStatus.PENDING, run_id, "", 10), within_s=10)
    return found


def needs_grant(tool: str, arguments: object, grants: tuple) -> Returned | NeedsApproval:
    granted = any(grant.call_digest == PROPOSAL.call_digest for grant in grants)
    return Returned(result={"done": True}) if granted else NeedsApproval(proposal=PROPOSAL)


async def test_a_high_risk_call_waits_for_leave_and_is_made_with_the_grant(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        asked = await pending(bench, run_id)
        assert asked.approval.proposal == PROPOSAL
        assert not bench.tools.executed
        assert (await bench.service.get_run(TENANT, run_id)).summary.status is RunStatus.WAITING
        await bench.service.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="ok", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"done": True, "note": ""}
    assert len(bench.tools.executed) == 1


async def test_a_rejected_call_is_never_made_and_takes_its_route(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        asked = await pending(bench, run_id)
        await bench.service.decide_approval(TENANT, asked.approval.approval_id, approve=False, comment="too much", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"done": False, "note": "too much"}
    assert not bench.tools.executed


async def test_an_approval_is_decided_once(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        approval_id = (await pending(bench, run_id)).approval.approval_id
        decisions = [bench.service.decide_approval(TENANT, approval_id, approve=True, comment="", decided_by=f"p{n}") for n in range(8)]
        first, *rest = await asyncio.gather(*decisions)
        assert all(again.approval.decided_by == first.approval.decided_by for again in rest)
        with pytest.raises(ApprovalDecidedAlready):
            await bench.service.decide_approval(TENANT, approval_id, approve=False, comment="", decided_by="late")
        await bench.ended(run_id)
    assert len(bench.tools.executed) == 1


async def test_an_approval_that_nobody_decides_expires(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        await pending(bench, run_id)
        async with bench.pool.acquire() as connection, connection.transaction():
            # time passes: the journal says so, and the run is due
            await connection.execute(
                """update journal set entry = regexp_replace(entry, '"expires_at":"[^"]+"', '"expires_at":"2001-01-01T00:00:00Z"') where run_id = $1""",
                run_id,
            )
            await connection.execute("update runs set wake_at = now() where run_id = $1", run_id)
        view = await bench.ended(run_id)
    assert view.run.output == {"done": False, "note": "nobody decided in time"}
    approvals = await bench.service.list_approvals(TENANT, None, run_id, "", 10)
    assert [one.approval.status for one in approvals] == [ApprovalStatus.EXPIRED]


LOOP = """
agent: loop
input: {type: object, properties: {question: {type: string}}}
state: {type: object, properties: {question: {type: string}, text: {type: string}, calls: {type: array}}}
start: think
output: {text: state.text, calls: state.calls}
nodes:
  think:
    agent: {prompt: helper, variables: {question: state.question}, tools: [look, refund], turns: 3}
    save: {text: result.text, calls: result.calls}
    next: end
"""


def calling(*calls: tuple[str, object]) -> list[ToolCall]:
    return [ToolCall(call_id=f"c{number}", tool=tool, arguments=arguments) for number, (tool, arguments) in enumerate(calls)]


async def test_an_agent_calls_its_tools_side_by_side_and_answers(bench: Bench) -> None:
    await bench.register(LOOP)
    turns = [answer(calls=calling(("look", {"a": 1}), ("look", {"a": 2}), ("nope", {}))), answer("done")]
    bench.models.reply = lambda _: turns[len(bench.models.asked) - 1]
    view = await bench.run("loop", {"question": "?"})
    assert view.run.output["text"] == "done"
    assert [(call["tool"], call["ok"]) for call in view.run.output["calls"]] == [("look", True), ("look", True), ("nope", False)]
    assert [len(question.conversation) for question in bench.models.asked] == [0, 2]


async def test_an_agent_that_never_ends_is_stopped_by_its_turns(bench: Bench) -> None:
    await bench.register(LOOP)
    bench.models.reply = lambda _: answer(calls=calling(("look", {"a": 1})))
    view = await bench.run("loop", {"question": "?"})
    assert view.run.failure is not None
    assert view.run.failure.reason == "TURNS_USED_UP"
    assert len(bench.models.asked) == 3


async def test_an_agent_waits_for_leave_and_repeats_no_call_of_the_same_turn(bench: Bench) -> None:
    await bench.register(LOOP)
    turns = [answer(calls=calling(("look", {"a": 1}), ("refund", {"amount": 900}))), answer("done")]
    bench.models.reply = lambda _: turns[len(bench.models.asked) - 1]
    bench.tools.reply = lambda tool, arguments, grants: (
        needs_grant(tool, arguments, tuple(grants)) if tool == "refund" else Returned(result="seen")
    )
    async with bench.working():
        run_id = await bench.start("loop", {"question": "?"})
        asked = await pending(bench, run_id)
        await bench.service.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output["text"] == "done"
    assert sorted(tool for _, tool, _ in bench.tools.executed) == ["look", "refund"]


MAP = """
agent: mapped
input: {type: object, properties: {rows: {type: array}}}
state: {type: object, properties: {rows: {type: array}, out: {type: array}, bad: {type: array}}}
start: each
output: {out: state.out, bad: "state.bad.map(f, f.index)"}
nodes:
  each:
    map: {over: state.rows, concurrency: 3, on_item_failure: POLICY, do: {tool: {name: double, arguments: {n: item, at: index}}}}
    save: {out: result.items, bad: result.failures}
    next: end
"""


def double(tool: str, arguments: dict, grants: object) -> Returned | Refused:
    return failure(Category.TOOL_ERROR) if arguments["n"] < 0 else Returned(result=arguments["n"] * 2)


async def test_a_map_keeps_the_order_and_collects_failures(bench: Bench) -> None:
    await bench.register(MAP.replace("POLICY", "collect"))
    bench.tools.reply = double
    view = await bench.run("mapped", {"rows": [1, -1, 3, 4]})
    assert view.run.output == {"out": [2, None, 6, 8], "bad": [1]}


async def test_a_map_that_may_not_fail_fails_with_the_items_failure(bench: Bench) -> None:
    await bench.register(MAP.replace("POLICY", "fail"))
    bench.tools.reply = double
    view = await bench.run("mapped", {"rows": [1, -1]})
    assert view.run.failure is not None
    assert view.run.failure.category is Category.TOOL_ERROR


async def test_a_model_failure_keeps_its_cost_and_category(bench: Bench) -> None:
    await bench.register(LOOP)
    refused = NoAnswer(failure=Failure(category=Category.MODEL_REFUSED, reason="REFUSED", message="no"), usage=Usage(input_tokens=7))
    bench.models.reply = lambda _: refused
    view = await bench.run("loop", {"question": "?"})
    assert view.run.failure is not None
    assert view.run.failure.category is Category.MODEL_REFUSED
    assert view.summary.usage.input_tokens == 7


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
        await bench.service.cancel_run("other", run_id, "", "")
    assert await bench.runs.journal("other", run_id, 0, 10) == []


async def test_a_cancelled_run_is_taken_from_its_worker_and_stays_cancelled(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        run_id = await bench.start("steps", {"canary": "c"})

        async def under_way() -> bool:
            return (await bench.service.get_run(TENANT, run_id)).run.step is not None

        await eventually(under_way)
        view = await bench.service.cancel_run(TENANT, run_id, "changed my mind", "ann")
        assert view.run.status is RunStatus.CANCELLED
        bench.tools.gate.set()
    after = await bench.service.get_run(TENANT, run_id)
    assert after.summary == view.summary
    done = await bench.run("steps", {"canary": "d"})
    with pytest.raises(RunFinishedAlready):
        await bench.service.cancel_run(TENANT, done.summary.run_id, "", "")


async def test_a_stream_from_any_cursor_equals_the_journal(bench: Bench) -> None:
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c"})
    run_id, journal = view.summary.run_id, await bench.runs.journal(TENANT, view.summary.run_id, 0, 500)
    for cursor in range(view.summary.seq + 2):
        followed = [entry async for _, entry in bench.service.follow_run(TENANT, run_id, cursor)]
        assert followed == list(journal[cursor:])


ASKER = """
agent: asker
input: {type: object, properties: {m: {type: string}}}
state: {type: object, properties: {m: {type: string}}}
start: ask
output: {m: state.m}
nodes:
  ask: {approve: {summary: "state.m", details: {}, expires: 1h, on_rejected: end, on_expired: end}, next: end}
"""


class ForgetfulStore(PostgresRunStore):
    """A database that cannot hold one text."""

    async def append(self, batch: Sequence[Append]) -> Mapping[str, datetime]:
        if any(isinstance(entry, ApprovalAsked) and entry.summary == "unstorable" for one in batch for entry in one.entries):
            raise Internal("the database refused a statement", reason="DATABASE_ERROR")
        return await super().append(batch)


async def test_a_step_that_cannot_be_stored_fails_its_run_and_no_other(bench: Bench) -> None:
    await bench.register(STEPS)
    await bench.register(ASKER)
    bad = await bench.start("asker", {"m": "unstorable"})
    good = [await bench.start("steps", {"canary": f"c{number}"}) for number in range(20)]
    async with bench.working(bench.worker(store=ForgetfulStore(bench.pool, DatabaseClock(SystemClock())))):
        failed = (await bench.ended(bad)).run
        assert failed.status is RunStatus.FAILED
        assert failed.failure is not None
        assert (failed.failure.category, failed.failure.reason, failed.failure.where) == (Category.INTERNAL, "DATABASE_ERROR", "ask")
        for run_id in good:
            assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def test_a_text_that_the_database_cannot_hold_is_the_callers_fault(bench: Bench) -> None:
    await bench.register(STEPS)
    refused, accepted = await asyncio.gather(
        bench.service.start_run(TENANT, "steps", {"canary": "c1"}, "key\0"),
        bench.service.start_run(TENANT, "steps", {"canary": "c2"}, "key"),
        return_exceptions=True,
    )
    assert isinstance(refused, Invalid)
    assert not isinstance(accepted, BaseException)
    with pytest.raises(Invalid):
        await bench.service.get_run(TENANT, "run\0")
