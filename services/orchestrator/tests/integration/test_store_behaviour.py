"""What both run stores promise, the real one and the model that the simulation runs on."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec import structs
from orchestrator_fakes import TENANT
from orchestrator_stores import END, GRAPH, LETTER, STEP, Stores, appending, letting_go, model_stores, real_stores
from plimsoll_orchestrator.domain.actions import Birth
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalStatus,
    RunFinished,
    RunStarted,
    RunStatus,
    SignalReceived,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import Delivery
from plimsoll_orchestrator.domain.options import RunOrigin
from plimsoll_orchestrator.domain.poison import SUSPECT, is_guilty
from plimsoll_orchestrator.domain.snapshot import encode_run
from plimsoll_orchestrator.errors import IdempotencyKeyReused, MailboxFull
from plimsoll_orchestrator.ports import Kept


@pytest.fixture(params=["model", "postgres", "postgres in company"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dsn(kind: str, request: pytest.FixtureRequest) -> str:
    """Of the database; empty for the model."""
    return "" if kind == "model" else request.getfixturevalue("postgres_dsn")


@pytest.fixture
async def stores(dsn: str, kind: str) -> AsyncIterator[Stores]:
    async with real_stores(dsn, in_company=kind == "postgres in company") if dsn else model_stores() as stores:
        yield stores


async def test_a_claim_raises_the_epoch_and_brings_the_journal(stores: Stores) -> None:
    run_id = await stores.make(value={"x": 1})
    claimed = await stores.take()
    assert (claimed.run_id, claimed.epoch, claimed.snapshot, claimed.abandoned) == (run_id, 1, None, claimed.abandoned)
    assert [entry.entry for entry in claimed.entries] == [RunStarted(input={"x": 1})]
    assert await stores.claims.claim("other", 10, {}) == []
    summary = await stores.runs.summary(TENANT, run_id)
    assert summary is not None
    assert summary.status is RunStatus.RUNNING


async def test_a_key_makes_one_run_and_refuses_another_request(stores: Stores) -> None:
    first = await stores.make("key", "one")
    assert await stores.make("key", "one") == first
    with pytest.raises(IdempotencyKeyReused):
        await stores.make("key", "two")


async def test_nobody_sees_another_tenants_run(stores: Stores) -> None:
    run_id = await stores.make()
    assert await stores.runs.summary("other", run_id) is None
    assert list(await stores.runs.journal("other", run_id, 0, 10)) == []
    assert not await stores.runs.deliver("other", Delivery(run_id=run_id, letter_id="s1", letter=LETTER))
    claimed = await stores.take()
    assert not await stores.write(replace(appending(claimed, STEP), tenant="other"))


async def test_an_append_counts_once(stores: Stores) -> None:
    run_id = await stores.make()
    append = appending(await stores.take(), STEP)
    assert await stores.write(append)
    assert not await stores.write(append)
    assert await stores.seq(run_id) == 2
    entries = await stores.runs.journal(TENANT, run_id, 1, 10)
    assert [(entry.seq, entry.epoch, entry.entry) for entry in entries] == [(2, 1, STEP)]


async def test_a_lease_that_ended_is_anybodys_and_its_holder_writes_nothing_more(stores: Stores) -> None:
    run_id = await stores.make()
    stale = await stores.take("stale")
    await stores.pass_time(16)
    fresh = await stores.take("fresh")
    assert fresh.epoch == stale.epoch + 1
    assert len(fresh.abandoned) == 1
    assert fresh.abandoned[0].startswith("stale at ")
    assert not await stores.write(appending(stale, STEP))
    assert list(await stores.claims.renew({run_id: stale.epoch})) == []
    await stores.claims.release({run_id: stale.epoch})
    await stores.claims.set_aside(run_id, stale.epoch, "fault")
    assert list(await stores.claims.renew({run_id: fresh.epoch})) == [run_id]
    assert await stores.write(appending(fresh, STEP))


async def test_a_late_holder_may_still_write_while_nobody_else_took_the_run(stores: Stores) -> None:
    await stores.make()
    claimed = await stores.take()
    await stores.pass_time(16)
    assert await stores.write(appending(claimed, STEP))


async def test_a_renewed_lease_lasts(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    await stores.pass_time(10)
    await stores.claims.renew({run_id: claimed.epoch})
    await stores.pass_time(10)
    assert await stores.claims.claim("other", 10, {}) == []


async def test_a_released_run_is_ready_and_its_holder_out(stores: Stores) -> None:
    run_id = await stores.make()
    first = await stores.take()
    await stores.claims.release({run_id: first.epoch})
    assert not await stores.write(appending(first, STEP))
    again = await stores.take()
    assert again.abandoned == first.abandoned


async def lose(stores: Stores, times: int) -> None:
    """All runs are taken by a worker that ends, so often."""
    for _ in range(times):
        assert await stores.claims.claim("victim", 200, {})
        await stores.pass_time(16)


async def test_suspects_are_taken_apart_from_others_and_fewer_together_each_time(stores: Stores) -> None:
    for _ in range(140):
        await stores.make()
    await lose(stores, SUSPECT)
    fresh = await stores.make()
    assert [one.run_id for one in await stores.claims.claim("w", 200, {})] == [fresh]
    first, second = await stores.claims.claim_suspects("a", [2] * 8), await stores.claims.claim_suspects("b", [])
    assert (len(first), len(second), {one.beside for one in [*first, *second]}) == (120, 20, {0})
    assert await stores.claims.claim_suspects("c", []) == []
    await stores.pass_time(16)
    fewer = await stores.claims.claim_suspects("c", [])
    assert len(fewer) == 8
    assert {one.beside for one in fewer} <= {128, 20}


async def test_one_that_is_tried_alone_waits_for_its_turn_and_no_other_comes_before_it(stores: Stores) -> None:
    alone = await stores.make()
    await lose(stores, SUSPECT)
    for _ in range(2):  # beside others, of whom nothing is known
        assert [one.run_id for one in await stores.claims.claim_suspects("w", [2])] == [alone]
        await stores.pass_time(16)
    await stores.make()
    await lose(stores, SUSPECT)
    assert await stores.claims.claim_suspects("w", [2]) == []
    assert [(one.run_id, len(one.abandoned), one.beside) for one in await stores.claims.claim_suspects("w", [])] == [(alone, 4, 2)]
    assert len(await stores.claims.claim_suspects("w", [4])) == 1, "a worker that tries one alone does not ask; another one may"


async def test_a_suspect_that_is_given_back_was_not_lost_alone(stores: Stores) -> None:
    await stores.make()
    await lose(stores, SUSPECT)
    alone = await stores.take()
    await stores.claims.release({alone.run_id: alone.epoch})
    assert (await stores.take()).beside == 0
    await stores.pass_time(16)
    again = await stores.take()
    assert is_guilty(len(again.abandoned), again.beside)


async def test_the_run_that_ends_its_workers_is_told_from_those_beside_it(stores: Stores) -> None:
    poison, *_ = [await stores.make() for _ in range(40)]
    ended, guilty = 0, []
    while not guilty and ended < 10:
        taken = [*await stores.claims.claim("w", 100, {}), *await stores.claims.claim_suspects("w", [])]
        guilty = [one.run_id for one in taken if is_guilty(len(one.abandoned), one.beside)]
        if any(one.run_id == poison for one in taken):
            ended += not guilty
            await stores.pass_time(16)
        else:
            assert all([await stores.write(letting_go(one, RunStatus.WAITING, STEP)) for one in taken])
    assert guilty == [poison]
    assert ended == 5


async def test_one_that_ends_its_workers_and_nobody_is_beside_is_found_the_third_time(stores: Stores) -> None:
    await stores.make()
    await lose(stores, SUSPECT)
    third = await stores.take()
    assert not is_guilty(len(third.abandoned), third.beside)
    await stores.pass_time(16)
    found = await stores.take()
    assert is_guilty(len(found.abandoned), found.beside)


async def test_a_run_set_aside_comes_back_later_and_later_until_it_gets_on(stores: Stores) -> None:
    run_id = await stores.make()
    for times, pause in enumerate((1, 2, 4)):
        claimed = await stores.take()
        assert list(claimed.abandoned) == ["fault"] * times
        await stores.claims.set_aside(run_id, claimed.epoch, "fault")
        await stores.pass_time(pause - 0.5)
        assert [*await stores.claims.claim("w", 10, {}), *await stores.claims.claim_suspects("w", [])] == []
        await stores.pass_time(0.6)
    claimed = await stores.take()
    assert is_guilty(len(claimed.abandoned), claimed.beside)
    assert await stores.write(appending(claimed, STEP))
    await stores.pass_time(16)
    assert len((await stores.take()).abandoned) == 1


async def test_one_that_cannot_be_read_waits_for_people(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    await stores.claims.set_aside(run_id, claimed.epoch, "fault", unreadable=True)
    await stores.pass_time(1000)
    assert await stores.claims.claim("w", 10, {}) == []
    summary = await stores.runs.summary(TENANT, run_id)
    assert summary is not None
    assert summary.status is RunStatus.QUARANTINED
    assert await stores.tell(run_id)
    assert await stores.claims.claim("w", 10, {}) == []


async def test_one_that_is_fenced_off_holds_up_nobody_else_in_its_batch(stores: Stores) -> None:
    ids = [await stores.make() for _ in range(3)]
    claims = {claimed.run_id: claimed for claimed in await stores.claims.claim("w", 3, {})}
    await stores.claims.release({ids[1]: claims[ids[1]].epoch})
    committed = await stores.claims.append([appending(claims[run_id], STEP) for run_id in ids])
    assert set(committed.appended) == {ids[0], ids[2]}


async def test_letters_are_numbered_kept_once_and_gone_when_answered(stores: Stores) -> None:
    run_id = await stores.make()
    assert [await stores.tell(run_id, number) for number in (1, 2, 1)] == [True, True, True]
    claimed = await stores.take()
    assert ([one.number for one in claimed.letters], claimed.mail) == ([1, 2], 2)
    taken = SignalReceived(signal_id="s1", name="go")
    assert await stores.write(replace(appending(claimed, taken), answered=(1,)))
    assert [one.number for one in await stores.claims.letters(run_id, 0)] == [2]
    assert list(await stores.claims.letters(run_id, 2)) == []
    assert await stores.tell(run_id, 1)
    assert [one.number for one in await stores.claims.letters(run_id, 0)] == [2, 3]


async def test_a_commit_tells_of_letters_that_came_meanwhile(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    assert await stores.tell(run_id)
    committed = await stores.commit(appending(claimed, STEP))
    assert committed.appended[run_id].mail == 1


async def test_a_run_does_not_succeed_with_a_letter_unread_but_fails_with_one(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    await stores.tell(run_id)
    assert not await stores.write(appending(claimed, END))
    failed = RunFinished(status=RunStatus.FAILED)
    assert await stores.write(appending(claimed, failed))
    assert list(await stores.claims.letters(run_id, 0)) == []


async def test_a_letter_wakes_a_run_that_waits(stores: Stores) -> None:
    run_id = await stores.make()
    assert await stores.write(letting_go(await stores.take(), RunStatus.WAITING, STEP))
    assert await stores.claims.claim("w", 10, {}) == []
    assert await stores.tell(run_id)
    assert (await stores.take()).mail == 1


async def test_a_letter_that_came_before_the_run_was_let_go_wakes_it_as_well(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    await stores.tell(run_id)
    assert await stores.write(letting_go(claimed, RunStatus.WAITING, STEP))
    assert (await stores.take()).run_id == run_id


async def test_a_letter_does_not_take_a_run_from_its_holder(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    await stores.tell(run_id)
    assert await stores.claims.claim("other", 10, {}) == []
    assert await stores.write(appending(claimed, STEP))


async def test_a_paused_run_gets_letters_and_sleeps_on(stores: Stores) -> None:
    run_id = await stores.make()
    assert await stores.write(letting_go(await stores.take(), RunStatus.PAUSED, STEP))
    assert await stores.tell(run_id)
    await stores.pass_time(1000)
    assert await stores.claims.claim("w", 10, {}) == []


async def test_a_finished_run_gets_no_letters_no_entries_and_no_worker(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    assert await stores.write(appending(claimed, END))
    assert not await stores.tell(run_id)
    await stores.pass_time(1000)
    assert await stores.claims.claim("w", 10, {}) == []
    late = replace(appending(claimed, END), epoch=-1, expected_seq=2)
    assert (await stores.runs.intervene(late)).appended == {}
    assert await stores.seq(run_id) == 2


async def test_a_mailbox_has_a_limit(stores: Stores) -> None:
    run_id = await stores.make()
    for number in range(1000):
        assert await stores.tell(run_id, number)
    assert await stores.tell(run_id, 0)
    with pytest.raises(MailboxFull):
        await stores.tell(run_id, 1000)


async def test_an_intervention_takes_the_run_from_its_holder(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    taken = letting_go(claimed, RunStatus.PAUSED, STEP)
    assert run_id in (await stores.runs.intervene(replace(taken, epoch=-1))).appended
    assert not await stores.write(appending(claimed, STEP))
    assert not await stores.write(replace(appending(claimed, STEP), expected_seq=2))
    assert list(await stores.claims.renew({run_id: claimed.epoch})) == []
    assert (await stores.runs.intervene(replace(taken, epoch=-1))).appended == {}


async def test_children_begin_with_the_append_that_starts_them_or_not_at_all(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    first = RunStarted(input={}, origin=RunOrigin(parent_run_id=run_id, parent_seq=2, place="p"))
    birth = Birth(run_id=f"{run_id}.2.0", agent="short", agent_digest=GRAPH.digest, first=first)
    append = replace(appending(claimed, STEP), births=(birth,))
    assert not await stores.write(replace(append, epoch=claimed.epoch + 1))
    assert await stores.runs.summary(TENANT, birth.run_id) is None
    committed = await stores.commit(append)
    assert list(committed.readied) == [birth.run_id]
    assert not await stores.write(append)
    child = await stores.take()
    assert (child.run_id, [entry.entry for entry in child.entries]) == (birth.run_id, [first])


async def test_letters_go_out_with_an_append_or_not_at_all(stores: Stores) -> None:
    other = await stores.make()
    assert await stores.write(letting_go(await stores.take(), RunStatus.WAITING, STEP))
    await stores.make()
    claimed = await stores.take()
    append = replace(appending(claimed, STEP), deliveries=(Delivery(run_id=other, letter_id="s1", letter=LETTER),))
    assert not await stores.write(replace(append, epoch=claimed.epoch + 1))
    assert list(await stores.claims.letters(other, 0)) == []
    committed = await stores.commit(append)
    assert list(committed.readied) == [other]
    assert (await stores.take()).run_id == other


async def test_a_claim_begins_at_the_snapshot(stores: Stores) -> None:
    run_id = await stores.make(value={"x": 1})
    claimed = await stores.take()
    append = appending(claimed, STEP)
    assert await stores.write(replace(append, snapshot=encode_run(append.run)))
    ask = ApprovalAsked(approval_id="apr_1", node="a", summary="?", details={}, expires_at=claimed.entries[0].at)
    later = appending(claimed, STEP, ask)
    assert await stores.write(replace(later, expected_seq=2, entries=(ask,), encoded=[encode_entry(ask)]))
    await stores.claims.release({run_id: claimed.epoch})
    again = await stores.take()
    assert again.snapshot is not None
    assert again.snapshot.run == append.run
    assert [(entry.seq, entry.entry) for entry in again.entries] == [(3, ask)]


async def test_questions_are_found_decided_and_withdrawn_with_the_run(stores: Stores) -> None:
    run_id = await stores.make()
    claimed = await stores.take()
    at = claimed.entries[0].at
    asked = [ApprovalAsked(approval_id=f"apr_{n}", node="a", summary="?", details={}, expires_at=at) for n in range(2)]
    yes = ApprovalDecided(approval_id="apr_0", node="a", status=ApprovalStatus.APPROVED, decided_by="me")
    assert await stores.write(appending(claimed, STEP, asked[0]))
    pending = await stores.runs.list_approvals(TENANT, ApprovalStatus.PENDING, run_id, "", 10)
    assert [view.approval.approval_id for view in pending] == ["apr_0"]
    entries = (STEP, asked[0], yes, asked[1], RunFinished(status=RunStatus.FAILED))
    last = appending(claimed, *entries)
    assert await stores.write(replace(last, expected_seq=3, entries=entries[2:], encoded=[encode_entry(one) for one in entries[2:]]))
    views = await stores.runs.list_approvals(TENANT, None, run_id, "", 10)
    assert [view.approval.status for view in views] == [ApprovalStatus.APPROVED, ApprovalStatus.WITHDRAWN]
    assert await stores.runs.approval("other", "apr_0") is None


async def test_what_a_run_leaves_to_its_thread_is_there_for_the_next(stores: Stores) -> None:
    await stores.make(thread_id="t")
    claimed = await stores.take()
    nothing = Kept(fields={})
    assert await stores.claims.kept(TENANT, "t") == nothing
    end = appending(claimed, END)
    having_read = structs.replace(end.run, labels=("reads:private", "b"))
    assert await stores.write(replace(end, run=having_read, kept={"n": 1}))
    assert await stores.claims.kept(TENANT, "t") == Kept(fields={"n": 1}, labels=("b", "reads:private"))
    assert await stores.claims.kept("other", "t") == nothing
