"""Forks, retries, compensation, prompt versions: doing things over without doing them twice."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, answer, failure, open_bench
from plimsoll_orchestrator.domain.journal import RunStatus, StepStarted
from plimsoll_orchestrator.domain.options import USUAL
from plimsoll_orchestrator.errors import InvalidInput, NothingToRetry, StepPruned
from plimsoll_orchestrator.ports import Refused, Returned
from plimsoll_orchestrator.service import Fork
from plimsoll_runtime.errors import NotFound
from plimsoll_runtime.failures import Category


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


async def begun_at(bench: Bench, run_id: str, node: str) -> int:
    entries = await bench.runs.journal(TENANT, run_id, 0, 500)
    return next(entry.seq for entry in entries if isinstance(entry.entry, StepStarted) and entry.entry.node == node)


async def test_a_fork_goes_on_from_any_step_with_an_edited_state_and_the_original_stays(bench: Bench) -> None:
    await bench.register(STEPS)
    original = await bench.run("steps", {"canary": "c"})
    at = await begun_at(bench, original.run.run_id, "b")
    async with bench.working():
        started = await bench.control.fork_run(TENANT, original.run.run_id, Fork(seq=at, changes={"canary": "fork"}), USUAL, "")
        forked = await bench.ended(started.view.run.run_id)
    assert forked.run.output == {"canary": "fork", "seen": ["c", "fork", "fork"]}
    assert (forked.run.origin.forked_run_id, forked.run.origin.forked_seq) == (original.run.run_id, at)
    again = await bench.service.get_run(TENANT, original.run.run_id)
    assert again.run == original.run


async def test_a_fork_can_go_on_elsewhere_and_take_fields_away(bench: Bench) -> None:
    await bench.register(STEPS)
    original = await bench.run("steps", {"canary": "c"})
    async with bench.working():
        fork = Fork(changes={"n": None, "seen": ["new"]}, node="d")
        started = await bench.control.fork_run(TENANT, original.run.run_id, fork, USUAL, "key")
        forked = await bench.ended(started.view.run.run_id)
        assert forked.run.output == {"canary": "c", "seen": ["new", "c"]}
        assert "n" not in forked.run.state
        again = await bench.control.fork_run(TENANT, original.run.run_id, fork, USUAL, "key")
    assert (again.created, again.view.run.run_id) == (False, forked.run.run_id)


@pytest.mark.parametrize(
    ("fork", "field"),
    [
        (Fork(changes={"canary": 7}, node="b"), "state.canary"),
        (Fork(changes={"nobody": 7}, node="b"), "state.nobody"),
        (Fork(changes={}, node="nowhere"), "node"),
        (Fork(changes={}), "node"),
        (Fork(changes={}, seq=999), "seq"),
        (Fork(changes={}, seq=-1), "seq"),
    ],
)
async def test_a_fork_that_makes_no_sense_names_its_field(bench: Bench, fork: Fork, field: str) -> None:
    await bench.register(STEPS)
    original = await bench.run("steps", {"canary": "c"})
    with pytest.raises(InvalidInput) as refused:
        await bench.control.fork_run(TENANT, original.run.run_id, fork, USUAL, "")
    assert field in [problem.field for problem in refused.value.problems]
    with pytest.raises(NotFound):
        await bench.control.fork_run("other", original.run.run_id, fork, USUAL, "")


async def test_a_fork_of_what_retention_took_is_refused(bench: Bench) -> None:
    await bench.register(STEPS)
    original = await bench.run("steps", {"canary": "c"})
    run_id = original.run.run_id
    await bench.pool.execute("delete from journal where run_id = $1 and seq < $2", run_id, original.run.seq)
    await bench.pool.execute("update runs set pruned_seq = $2 where run_id = $1", run_id, original.run.seq - 1)
    with pytest.raises(StepPruned):
        await bench.control.fork_run(TENANT, run_id, Fork(seq=2, changes={}), USUAL, "")
    with pytest.raises(StepPruned):
        async for _ in bench.following.follow_run(TENANT, run_id, 0):
            pass
    assert (await bench.service.get_run(TENANT, run_id)).run.output == original.run.output


async def test_a_retry_goes_on_at_the_failed_step_under_the_key_whose_outcome_is_open(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.lose_answers = 1  # it acted, and we never learned of it
    failed = await bench.run("steps", {"canary": "c"})
    assert failed.run.status is RunStatus.FAILED
    async with bench.working():
        started = await bench.control.retry_run(TENANT, failed.run.run_id, latest=False, idempotency_key="")
        retried = await bench.ended(started.view.run.run_id)
    assert retried.run.output == {"canary": "c", "seen": ["c", "c", "c"]}
    assert len(bench.tools.executed) == 1
    with pytest.raises(NothingToRetry):
        await bench.control.retry_run(TENANT, retried.run.run_id, latest=False, idempotency_key="")


CHARGE = """
agent: charge
input: {type: object, properties: {amount: {type: integer}}}
state: {type: object, properties: {amount: {type: integer}}}
start: pay
budget: {steps: 20}
output: {amount: state.amount}
nodes:
  pay: {tool: {name: pay, arguments: {amount: state.amount}}, retry: {attempts: 2, backoff: 1ms, on: [timeout]}, on_failure: {any: less}, next: end}
  less: {set: {amount: state.amount - 1}, next: pay}
"""


async def test_what_may_have_acted_is_tried_again_under_its_key_and_another_request_is_not(bench: Bench) -> None:
    await bench.register(CHARGE)
    lost = Refused(failure=failure(Category.TIMEOUT).failure, unsettled=True)
    replies = iter([lost, lost, Returned(result={})])
    bench.tools.reply = lambda *_: next(replies)
    paid = await bench.run("charge", {"amount": 9})
    assert paid.run.output == {"amount": 8}
    first, again, other = bench.tools.asked
    assert first == again
    assert (other[0] != first[0], other[2]) == (True, {"amount": 8})


async def test_a_retry_can_use_the_newest_version(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    failed = await bench.run("steps", {"canary": "c"})
    await bench.register(STEPS.replace("name: echo", "name: better"))
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"value": tool})
    async with bench.working():
        started = await bench.control.retry_run(TENANT, failed.run.run_id, latest=True, idempotency_key="")
        retried = await bench.ended(started.view.run.run_id)
    assert retried.run.output == {"canary": "c", "seen": ["c", "better", "c"]}


TRIP = """
agent: trip
input: {type: object, properties: {to: {type: string}}}
state: {type: object, properties: {to: {type: string}, flight: {type: string}, room: {type: string}, note: {type: string}}}
start: flight
output: {note: "has(state.note) ? state.note : ''"}
nodes:
  flight: {tool: {name: book_flight, arguments: {to: state.to}}, save: {flight: result.id}, undo: {name: cancel_flight, arguments: {id: state.flight}}, next: room}
  room: {tool: {name: book_room, arguments: {to: state.to}}, save: {room: result.id}, undo: {name: cancel_room, arguments: {id: state.room}}, next: car}
  car: {tool: {name: book_car, arguments: {to: state.to}}, on_failure: {any: mend}, next: end}
  mend: {handle: [{compensate: {NEXT}}]}
  sorry: {set: {note: "'undone'"}, next: end}
"""


def trip(tool: str, arguments: dict, grants: tuple):
    return failure(Category.UPSTREAM_REJECTED) if tool == "book_car" else Returned(result={"id": f"{tool}-1"})


@pytest.mark.parametrize(
    ("then", "status", "output"), [("next: sorry", RunStatus.SUCCEEDED, {"note": "undone"}), ("", RunStatus.FAILED, None)]
)
async def test_what_was_done_is_undone_latest_first(bench: Bench, then: str, status: RunStatus, output: object) -> None:
    source = TRIP.replace("NEXT", then)
    await bench.register(source if then else "\n".join(line for line in source.splitlines() if "sorry" not in line))
    bench.tools.reply = trip
    view = await bench.run("trip", {"to": "Rome"})
    assert (view.run.status, view.run.output) == (status, output)
    if status is RunStatus.FAILED:  # a retry does again what was undone
        async with bench.working():
            started = await bench.control.retry_run(TENANT, view.run.run_id, latest=False, idempotency_key="")
            await bench.ended(started.view.run.run_id)
        assert [tool for _, tool, _ in bench.tools.executed[4:6]] == ["book_flight", "book_room"]
    called = [(tool, arguments) for _, tool, arguments in bench.tools.executed[:4]]
    assert called[2:] == [("cancel_room", {"id": "book_room-1"}), ("cancel_flight", {"id": "book_flight-1"})]


async def test_what_cannot_be_undone_fails_the_run_with_its_own_failure(bench: Bench) -> None:
    await bench.register(TRIP.replace("NEXT", "next: sorry"))

    def reply(tool: str, arguments: dict, grants: tuple) -> Returned | Refused:
        return failure(Category.UPSTREAM_UNAVAILABLE, "CANNOT_CANCEL") if tool == "cancel_room" else trip(tool, arguments, grants)

    bench.tools.reply = reply
    view = await bench.run("trip", {"to": "Rome"})
    assert view.run.failure is not None
    assert view.run.failure.reason == "CANNOT_CANCEL"


ASK_TWICE = """
agent: twice
input: {type: object}
state: {type: object, properties: {a: {type: string}, b: {type: string}}}
start: first
output: {a: state.a, b: state.b}
nodes:
  first: {model: {prompt: "p@production", variables: {}}, save: {a: result.text}, next: second}
  second: {model: {prompt: "p@production", variables: {}}, save: {b: result.text}, next: end}
"""


async def test_a_run_stays_on_the_prompt_version_that_it_used_first(bench: Bench) -> None:
    await bench.register(ASK_TWICE)
    bench.models.reply = lambda question: answer(question.prompt_digest or "none")
    view = await bench.run("twice", {})
    assert view.run.output == {"a": "none", "b": "d" * 64}
