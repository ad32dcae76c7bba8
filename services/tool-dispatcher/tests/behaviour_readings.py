"""What every ledger promises of calls that need no reservation: run against the fake and against Postgres."""

import asyncio
from dataclasses import replace

from plimsoll_tool_dispatcher.domain.call import Degraded, Failed, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import Claim, KeyTaken, NoEntry, Recorded, StaleEpoch, Unfinished
from plimsoll_tool_dispatcher.ports import CallLedger
from tool_dispatcher_behaviour_ledger import Announced
from tool_dispatcher_samples import ACME, UMBRELLA, call, completed, failure, reservation, tool

FOUND = Succeeded(result={"found": True, "big": 12345678901234567, "text": "ünï"})
READ = tool(EffectClass.READ_ONLY)


class ReadingsBehaviour:
    """Subclasses give the fixtures `ledger` and `announced`."""

    async def test_what_is_recorded_is_found_and_announced(self, ledger: CallLedger, announced: Announced) -> None:
        assert await ledger.look_up(call()) == NoEntry()
        assert await ledger.record(reservation(one=READ), FOUND, completed(FOUND))
        recorded = Recorded(call_id="call_1", outcome=FOUND, attempts=2, duration_s=0.5)
        assert await ledger.look_up(call()) == await ledger.find(call()) == recorded
        assert await ledger.reserve(reservation(one=READ, call_id="call_2")) == recorded
        assert await announced() == ["evt_1"]

    async def test_a_failure_and_a_degraded_result_are_recorded_whole(self, ledger: CallLedger) -> None:
        instead = Succeeded(result=None, degraded=Degraded(by="fixed", failure=failure(), age_s=1.5))
        for key, outcome in (("key_1", Failed(failure=failure())), ("key_2", instead)):
            assert await ledger.record(reservation(call(key), READ), outcome, completed(outcome, f"evt_{key}", call(key)))
            found = await ledger.look_up(call(key))
            assert isinstance(found, Recorded)
            assert found.outcome == outcome

    async def test_of_many_that_record_one_call_at_once_one_does(self, ledger: CallLedger, announced: Announced) -> None:
        recorded = await asyncio.gather(
            *(ledger.record(reservation(one=READ, call_id=f"call_{n}"), FOUND, completed(FOUND, f"evt_{n}")) for n in range(16))
        )
        assert recorded.count(True) == 1
        found = await ledger.find(call())
        assert isinstance(found, Recorded)
        assert found.call_id == f"call_{recorded.index(True)}"
        assert await announced() == [f"evt_{recorded.index(True)}"]

    async def test_a_key_that_was_reserved_or_stands_for_another_request_is_not_recorded_under(self, ledger: CallLedger) -> None:
        assert isinstance(await ledger.reserve(reservation(one=tool(EffectClass.KEYED))), Claim)
        assert not await ledger.record(reservation(one=READ, call_id="call_2"), FOUND, completed(FOUND))
        assert isinstance(await ledger.look_up(call()), Unfinished)
        assert await ledger.look_up(call(arguments={"id": 8})) == KeyTaken()
        assert not await ledger.record(reservation(call(arguments={"id": 8}), READ), FOUND, completed(FOUND))

    async def test_keys_of_tenants_do_not_meet(self, ledger: CallLedger) -> None:
        assert await ledger.record(reservation(one=READ), FOUND, completed(FOUND))
        assert await ledger.look_up(call(tenant=UMBRELLA)) == NoEntry()

    async def test_looking_up_raises_the_epoch_and_a_lower_one_records_nothing(self, ledger: CallLedger, announced: Announced) -> None:
        slow = reservation(call("key_1", epoch=4), READ)
        assert await ledger.look_up(slow.call) == NoEntry()
        assert await ledger.look_up(call("key_2", epoch=5)) == NoEntry()
        assert await ledger.look_up(call("key_2", epoch=4)) == StaleEpoch(highest=5)
        assert not await ledger.record(slow, FOUND, completed(FOUND))
        assert await ledger.find(call("key_1", epoch=4)) == StaleEpoch(highest=5)
        assert await ledger.reserve(reservation(call("key_3", epoch=4))) == StaleEpoch(highest=5)
        assert await announced() == []

    async def test_what_is_said_to_be_the_first_is_not_looked_up_and_not_recorded_twice(
        self, ledger: CallLedger, announced: Announced
    ) -> None:
        first = replace(call(), first=True)
        assert await ledger.look_up(first) == NoEntry()
        assert await ledger.record(reservation(first, READ), FOUND, completed(FOUND))
        known, *unknown = await asyncio.gather(*(ledger.look_up(one) for one in (call(), first, replace(call("key_2"), first=True))))
        assert (isinstance(known, Recorded), unknown) == (True, [NoEntry(), NoEntry()])
        assert not await ledger.record(reservation(first, READ, call_id="call_2"), FOUND, completed(FOUND, "evt_2"))
        assert await ledger.look_up(call("key_3", epoch=0)) == StaleEpoch(highest=1)
        assert await announced() == ["evt_1"]

    async def test_a_run_has_read_what_was_recorded_for_it(self, ledger: CallLedger) -> None:
        private, shared = (
            tool(EffectClass.READ_ONLY, labels=labels) for labels in (("reads:private",), ("reads:untrusted", "reads:private"))
        )
        asked = replace(reservation(call("key_1"), private), call_id="call_1")
        assert await ledger.look_up(asked.call) == NoEntry()
        assert await ledger.labels(ACME, "run_1") == ()
        for number, one in enumerate((private, tool(EffectClass.READ_ONLY), shared)):
            asked = reservation(call(f"key_{number}"), one, call_id=f"call_{number}")
            assert await ledger.record(asked, FOUND, completed(FOUND, f"evt_{number}", asked.call))
        assert await ledger.labels(ACME, "run_1") == ("reads:private", "reads:untrusted")
        assert await ledger.labels(UMBRELLA, "run_1") == ()
