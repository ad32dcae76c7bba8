"""What every ledger promises: run against the fake and against Postgres."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from plimsoll_runtime.failures import Category
from plimsoll_tool_dispatcher.domain.call import Degraded, Failed, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import (
    Acted,
    CallState,
    Claim,
    GrantExpired,
    GrantRevoked,
    GrantSpent,
    KeyTaken,
    NoEntry,
    NotActed,
    Recorded,
    StaleEpoch,
    Unfinished,
    abandoned,
    outcome_unknown,
)
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool
from plimsoll_tool_dispatcher.ports import CallLedger, DoubtLedger
from tool_dispatcher_samples import ACME, UMBRELLA, call, completed, failure, grant_for, reservation, tool

Announced: TypeAlias = Callable[[], Awaitable[list[str]]]
FOUND = Succeeded(result={"found": True, "big": 12345678901234567, "text": "ünï\0"})
LONG_AGO, FAR_AHEAD = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
GONE = 0.0  # a lease that is over at once: its owner went away
NON_IDEMPOTENT = tool(EffectClass.NON_IDEMPOTENT)


async def claimed(ledger: CallLedger, one: Tool | None = None, *, lease_s: float = 60.0) -> Claim:
    claim = await ledger.reserve(reservation(one=one, lease_s=lease_s))
    assert isinstance(claim, Claim)
    return claim


async def unfinished(ledger: CallLedger) -> Unfinished:
    found = await ledger.find(call())
    assert isinstance(found, Unfinished)
    return found


class CallLedgerBehaviour:
    """Subclasses give the fixtures `ledger`, `doubts` and `announced`: the ids of the events announced so far, in order."""

    async def test_a_fresh_call_is_claimed_and_a_repeat_finds_it_in_flight(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger)
        repeat = await ledger.reserve(reservation(call_id="call_2"))
        assert repeat == await unfinished(ledger)
        assert isinstance(repeat, Unfinished)
        assert (repeat.claim, repeat.held, repeat.state) == (claim, True, CallState.RESERVED)

    async def test_of_many_that_reserve_one_call_at_once_one_gets_it(self, ledger: CallLedger) -> None:
        found = await asyncio.gather(*(ledger.reserve(reservation(call_id=f"call_{number}")) for number in range(16)))
        assert sum(isinstance(one, Claim) for one in found) == 1
        assert sum(isinstance(one, Unfinished) for one in found) == 15

    async def test_a_result_is_recorded_to_the_last_digit(self, ledger: CallLedger, announced: Announced) -> None:
        claim = await claimed(ledger)
        assert await ledger.settle(claim, FOUND, completed(FOUND))
        recorded = Recorded(call_id="call_1", outcome=FOUND, attempts=2, duration_s=0.5)
        assert await ledger.find(call()) == recorded
        assert await ledger.reserve(reservation(call_id="call_2")) == recorded
        assert await announced() == ["evt_1"]

    async def test_a_result_of_null_is_a_result(self, ledger: CallLedger) -> None:
        nothing = Succeeded(result=None)
        assert await ledger.settle(await claimed(ledger), nothing, completed(nothing))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == nothing

    async def test_a_failure_is_recorded_whole(self, ledger: CallLedger) -> None:
        failed = Failed(failure=failure())
        assert await ledger.settle(await claimed(ledger), failed, completed(failed))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == failed

    async def test_an_unknown_outcome_is_recorded_as_one(self, ledger: CallLedger) -> None:
        unknown = Failed(failure=outcome_unknown("look_up", "TOOL_TIMEOUT", "it may have acted"))
        assert await ledger.settle(await claimed(ledger), unknown, completed(unknown))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == unknown

    async def test_a_call_ends_once(self, ledger: CallLedger, announced: Announced) -> None:
        claim = await claimed(ledger)
        failed = Failed(failure=failure())
        assert await ledger.settle(claim, FOUND, completed(FOUND, "evt_1"))
        assert not await ledger.settle(claim, failed, completed(failed, "evt_2"))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == FOUND
        assert await announced() == ["evt_1"]

    async def test_a_key_stands_for_one_request(self, ledger: CallLedger) -> None:
        await claimed(ledger)
        other = call(arguments={"id": 8})
        assert await ledger.reserve(reservation(other)) == KeyTaken()
        assert await ledger.find(other) == KeyTaken()

    async def test_keys_of_tenants_do_not_meet(self, ledger: CallLedger) -> None:
        await claimed(ledger)
        assert await ledger.find(call(tenant=UMBRELLA)) == NoEntry()
        assert isinstance(await ledger.reserve(reservation(call(tenant=UMBRELLA))), Claim)

    async def test_a_lower_epoch_is_refused_once_a_higher_one_acted(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(reservation(call("key_1", epoch=5))), Claim)
        assert await ledger.reserve(reservation(call("key_2", epoch=4))) == StaleEpoch(highest=5)
        assert await ledger.find(call("key_1", epoch=4)) == StaleEpoch(highest=5)
        assert isinstance(await ledger.reserve(reservation(call("key_2", epoch=5))), Claim)
        assert isinstance(await ledger.reserve(reservation(call("key_3", epoch=6))), Claim)
        assert isinstance(await ledger.find(call("key_1", epoch=6)), Unfinished)
        assert isinstance(await ledger.reserve(reservation(call("key_4", epoch=1, run_id="run_2"))), Claim)

    async def test_a_repeat_raises_the_epoch_as_well(self, ledger: CallLedger) -> None:
        await claimed(ledger)
        await ledger.reserve(reservation(call(epoch=9)))
        assert await ledger.find(call(epoch=8)) == StaleEpoch(highest=9)

    async def test_a_grant_is_spent_by_one_call(self, ledger: CallLedger) -> None:
        first, second = reservation(call("key_1")), reservation(call("key_2"))
        assert isinstance(await ledger.reserve(grant_for(first)), Claim)
        assert await ledger.reserve(grant_for(second)) == GrantSpent()
        assert await ledger.find(second.call) == NoEntry()
        assert isinstance(await ledger.reserve(grant_for(second, "apr_2")), Claim)

    async def test_a_grant_that_was_taken_back_is_spent_by_nobody(self, ledger: CallLedger) -> None:
        assert await ledger.revoke(ACME, "apr_1", "bob")
        assert await ledger.revoke(ACME, "apr_1", "bob")
        assert await ledger.reserve(grant_for(reservation())) == GrantRevoked()
        assert await ledger.find(call()) == NoEntry()
        assert isinstance(await ledger.reserve(grant_for(reservation(call(tenant=UMBRELLA)))), Claim)

    async def test_a_grant_that_was_spent_cannot_be_taken_back(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(grant_for(reservation())), Claim)
        assert not await ledger.revoke(ACME, "apr_1", "bob")

    async def test_of_spending_and_taking_back_at_once_one_wins(self, ledger: CallLedger) -> None:
        for number in range(10):
            asked = grant_for(reservation(call(f"key_{number}")), f"apr_{number}")
            spent, revoked = await asyncio.gather(ledger.reserve(asked), ledger.revoke(ACME, f"apr_{number}", "bob"))
            assert isinstance(spent, Claim) is not revoked

    async def test_a_grant_is_spent_in_time_or_not_at_all(self, ledger: CallLedger) -> None:
        for number, (expires_at, wanted) in enumerate([(LONG_AGO, GrantExpired), (FAR_AHEAD, Claim)]):
            asked = grant_for(reservation(call(f"key_{number}")), f"apr_{number}", expires_at=expires_at)
            assert isinstance(await ledger.reserve(asked), wanted)

    async def test_labels_of_all_tools_that_a_run_called_add_up(self, ledger: CallLedger) -> None:
        assert await ledger.labels(ACME, "run_1") == ()
        for number, labels in enumerate([("reads:private",), (), ("reads:untrusted", "reads:private")]):
            assert isinstance(await ledger.reserve(reservation(call(f"key_{number}"), tool(labels=labels))), Claim)
        assert await ledger.labels(ACME, "run_1") == ("reads:private", "reads:untrusted")
        assert await ledger.labels(ACME, "run_2") == ()
        assert await ledger.labels(UMBRELLA, "run_1") == ()

    async def test_a_stale_call_leaves_no_label(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(reservation(call("key_1", epoch=5))), Claim)
        stale = await ledger.reserve(reservation(call("key_2", epoch=4), tool(labels=("reads:private",))))
        assert stale == StaleEpoch(highest=5)
        assert await ledger.labels(ACME, "run_1") == ()

    async def test_a_degraded_result_is_recorded_as_one(self, ledger: CallLedger) -> None:
        instead = Succeeded(result={"found": False}, degraded=Degraded(by="cached", failure=failure(), age_s=12.5))
        assert await ledger.settle(await claimed(ledger), instead, completed(instead))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == instead

    async def test_calls_that_begin_and_end_at_once_are_each_their_own(self, ledger: CallLedger, announced: Announced) -> None:
        claims = await asyncio.gather(
            *(ledger.reserve(reservation(call(f"key_{n}", run_id=f"run_{n % 7}"), call_id=f"call_{n}")) for n in range(200))
        )
        assert all(isinstance(claim, Claim) for claim in claims)
        outcomes = [Succeeded(result={"n": n}) if n % 3 else Failed(failure=failure(reason=f"R{n}")) for n in range(200)]
        settled = await asyncio.gather(
            *(
                ledger.settle(claim, outcome, completed(outcome, f"evt_{n}"))
                for n, (claim, outcome) in enumerate(zip(claims, outcomes, strict=True))
                if isinstance(claim, Claim)
            )
        )
        assert all(settled)
        for n in range(0, 200, 17):
            found = await ledger.find(call(f"key_{n}", run_id=f"run_{n % 7}"))
            assert isinstance(found, Recorded)
            assert (found.outcome, found.call_id) == (outcomes[n], f"call_{n}")
        assert sorted(await announced()) == sorted(f"evt_{n}" for n in range(200))

    async def test_of_many_calls_with_one_grant_one_gets_it(self, ledger: CallLedger) -> None:
        found = await asyncio.gather(*(ledger.reserve(grant_for(reservation(call(f"key_{number}")))) for number in range(8)))
        assert sum(isinstance(one, Claim) for one in found) == 1
        assert sum(isinstance(one, GrantSpent) for one in found) == 7

    async def test_a_repeat_with_its_own_grant_finds_its_call(self, ledger: CallLedger) -> None:
        asked = grant_for(reservation())
        assert isinstance(await ledger.reserve(asked), Claim)
        assert isinstance(await ledger.reserve(asked), Unfinished)

    async def test_grants_of_tenants_do_not_meet(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(grant_for(reservation())), Claim)
        assert isinstance(await ledger.reserve(grant_for(reservation(call(tenant=UMBRELLA)))), Claim)

    async def test_a_risky_call_without_a_grant_never_begins(self, ledger: CallLedger) -> None:
        risky = reservation(one=tool(risk=Risk.HIGH))
        assert await ledger.reserve(risky) == NoEntry()
        assert await ledger.find(risky.call) == NoEntry()

    async def test_a_call_whose_owner_went_away_is_taken_over_and_the_owner_fenced_off(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger, lease_s=GONE)
        entry = await unfinished(ledger)
        assert not entry.held
        taken = await ledger.take_over(reservation(call(epoch=2)), entry)
        assert taken == replace(claim, fence=claim.fence + 1)
        assert taken is not None
        assert not await ledger.settle(claim, FOUND, completed(FOUND, "evt_late"))
        assert not await ledger.mark_dispatched(claim, 60)
        assert await ledger.settle(taken, FOUND, completed(FOUND, "evt_2"))

    async def test_a_call_with_an_owner_is_not_taken_over(self, ledger: CallLedger) -> None:
        await claimed(ledger)
        assert await ledger.take_over(reservation(), await unfinished(ledger)) is None

    async def test_of_two_that_take_over_one_succeeds(self, ledger: CallLedger) -> None:
        await claimed(ledger, lease_s=GONE)
        entry = await unfinished(ledger)
        taken = await asyncio.gather(*(ledger.take_over(reservation(), entry) for _ in range(8)))
        assert sum(one is not None for one in taken) == 1

    async def test_a_call_that_must_not_run_twice_is_taken_over_only_before_it_was_sent(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT, lease_s=GONE)
        again = await ledger.take_over(reservation(one=NON_IDEMPOTENT), await unfinished(ledger))
        assert again is not None
        assert again.fence > claim.fence
        assert await ledger.mark_dispatched(again, GONE)
        entry = await unfinished(ledger)
        assert (entry.state, entry.held) == (CallState.DISPATCHED, False)
        assert await ledger.take_over(reservation(one=NON_IDEMPOTENT), entry) is None

    async def test_a_call_is_marked_as_dispatched_once(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT)
        assert await ledger.mark_dispatched(claim, 60)
        assert not await ledger.mark_dispatched(claim, 60)

    async def test_taking_over_with_a_grant_spends_it(self, ledger: CallLedger) -> None:
        await claimed(ledger, lease_s=GONE)
        asked = grant_for(reservation())
        assert await ledger.take_over(asked, await unfinished(ledger)) is not None
        assert await ledger.reserve(grant_for(reservation(call("key_2")))) == GrantSpent()

    async def test_taking_over_with_a_grant_of_another_call_fails(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(grant_for(reservation(call("key_2")))), Claim)
        await claimed(ledger, lease_s=GONE)
        assert await ledger.take_over(grant_for(reservation()), await unfinished(ledger)) is None

    async def test_renewing_keeps_a_claim_alive(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger, lease_s=GONE)
        await ledger.renew([claim], 60)
        assert (await unfinished(ledger)).held

    async def test_a_lost_claim_cannot_be_renewed(self, ledger: CallLedger) -> None:
        claim = await claimed(ledger, lease_s=GONE)
        assert await ledger.take_over(reservation(lease_s=GONE), await unfinished(ledger)) is not None
        await ledger.renew([claim], 60)
        assert not (await unfinished(ledger)).held

    async def test_a_released_call_may_run_again_at_once(self, ledger: CallLedger, announced: Announced) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT)
        busy = Failed(failure=failure(Category.RATE_LIMITED))
        await ledger.release(claim, completed(busy))
        entry = await unfinished(ledger)
        assert (entry.held, entry.state) == (False, CallState.RESERVED)
        assert await ledger.take_over(reservation(one=NON_IDEMPOTENT), entry) is not None
        assert await announced() == ["evt_1"]

    async def test_a_call_released_in_silence_announces_nothing(self, ledger: CallLedger, announced: Announced) -> None:
        await ledger.release(await claimed(ledger), None)
        assert await announced() == []

    async def test_only_calls_that_nobody_may_repeat_count_as_abandoned(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        for number, effect in enumerate(EffectClass):
            asked = reservation(call(f"key_{number}"), tool(effect), lease_s=GONE)
            claim = await ledger.reserve(asked)
            assert isinstance(claim, Claim)
            assert await ledger.mark_dispatched(claim, GONE)
        alive = await ledger.reserve(reservation(call("alive"), NON_IDEMPOTENT))
        assert isinstance(alive, Claim)
        assert await ledger.mark_dispatched(alive, 60)
        await ledger.reserve(reservation(call("unsent"), NON_IDEMPOTENT, lease_s=GONE))
        assert [(entry.effect, entry.claim.call_key) for entry in await doubts.abandoned(10)] == [(EffectClass.NON_IDEMPOTENT, "key_3")]
        assert await doubts.abandoned(0) == []

    async def test_an_abandoned_call_is_given_up_once(self, ledger: CallLedger, doubts: DoubtLedger, announced: Announced) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT, lease_s=GONE)
        assert await ledger.mark_dispatched(claim, GONE)
        [entry] = await doubts.abandoned(10)
        unknown = abandoned(entry)
        assert [await doubts.give_up(entry, unknown, event_id) for event_id in ("evt_1", "evt_2")] == [True, False]
        assert not await ledger.settle(claim, FOUND, completed(FOUND, "evt_3"))
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == Failed(failure=unknown)
        assert await announced() == ["evt_1"]

    async def test_a_call_with_an_owner_is_not_given_up(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT)
        assert await ledger.mark_dispatched(claim, 60)
        entry = await unfinished(ledger)
        assert not await doubts.give_up(entry, abandoned(entry), "evt_1")

    async def test_a_refused_call_is_announced(self, ledger: CallLedger, announced: Announced) -> None:
        await ledger.announce(completed(Failed(failure=failure()), "evt_7"))
        assert await announced() == ["evt_7"]


class DoubtLedgerBehaviour:
    """Subclasses give the same fixtures."""

    async def test_an_unknown_outcome_is_due_at_once_and_once(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        [doubt] = await doubts.due(10, 60.0)
        assert (doubt.tool, doubt.tries, doubt.escalated, doubt.arguments) == ("look_up", 1, False, {"id": 7})
        assert doubt.work == call().work
        assert await doubts.due(10, 60.0) == []

    async def test_a_doubt_comes_up_again_as_long_as_it_is_open(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        assert [[doubt.tries for doubt in await doubts.due(10, GONE)] for _ in range(3)] == [[1], [2], [3]]

    async def test_of_many_that_look_one_gets_a_doubt(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        found = await asyncio.gather(*(doubts.due(10, 60.0) for _ in range(8)))
        assert sum(len(one) for one in found) == 1

    async def test_only_unknown_outcomes_are_doubts(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        assert await ledger.settle(await claimed(ledger), FOUND, completed(FOUND))
        assert await doubts.due(10, 60.0) == []
        assert await doubts.open_doubts(ACME, 10) == []

    async def test_a_doubt_is_left_to_a_person_once(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        [doubt] = await doubts.due(10, GONE)
        assert await doubts.escalate(doubt, "evt_9")
        assert not await doubts.escalate(doubt, "evt_10")
        assert await doubts.due(10, GONE) == []
        [open_doubt] = await doubts.open_doubts(ACME, 10)
        assert open_doubt.escalated

    async def test_what_turns_out_to_have_acted_has_that_result(
        self, ledger: CallLedger, doubts: DoubtLedger, announced: Announced
    ) -> None:
        await in_doubt(ledger)
        [doubt] = await doubts.due(10, GONE)
        assert await doubts.settle_doubt(doubt, Acted(result={"found": True}), "ada", "evt_2")
        assert not await doubts.settle_doubt(doubt, Acted(result={"found": False}), "bob", "evt_3")
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.outcome == Succeeded(result={"found": True})
        assert await announced() == ["evt_1", "evt_2"]

    async def test_what_turns_out_not_to_have_acted_may_run(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        [doubt] = await doubts.due(10, GONE)
        assert await doubts.settle_doubt(doubt, NotActed(), "ada", "evt_2")
        entry = await unfinished(ledger)
        assert (entry.state, entry.held) == (CallState.RESERVED, False)
        assert await ledger.take_over(reservation(one=NON_IDEMPOTENT), entry) is not None

    async def test_a_person_sees_the_doubts_of_the_own_tenant(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        await in_doubt(ledger)
        [doubt] = await doubts.open_doubts(ACME, 10)
        assert await doubts.doubt(ACME, doubt.claim.call_id) == doubt
        assert await doubts.open_doubts(UMBRELLA, 10) == []
        assert await doubts.doubt(UMBRELLA, doubt.claim.call_id) is None
        assert await doubts.doubt(ACME, "call_none") is None

    async def test_a_call_given_up_is_a_doubt(self, ledger: CallLedger, doubts: DoubtLedger) -> None:
        claim = await claimed(ledger, NON_IDEMPOTENT, lease_s=GONE)
        assert await ledger.mark_dispatched(claim, GONE)
        [entry] = await doubts.abandoned(10)
        assert await doubts.give_up(entry, abandoned(entry), "evt_1")
        [doubt] = await doubts.due(10, GONE)
        assert (doubt.reason, doubt.arguments) == ("DISPATCHER_LOST", {"id": 7})


async def in_doubt(ledger: CallLedger) -> None:
    unknown = Failed(failure=outcome_unknown("look_up", "TOOL_TIMEOUT", "it may have acted"))
    claim = await claimed(ledger, NON_IDEMPOTENT)
    assert await ledger.mark_dispatched(claim, 60)
    assert await ledger.settle(claim, unknown, completed(unknown))
