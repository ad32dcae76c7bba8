"""The verbs: dispatch a call through the pipeline, show the tools, settle what dead dispatchers left behind.

The pipeline of a call, in this order:
resolve → check the arguments → approval                     domain.admission.admit
→ call ledger                                                here
→ bulkhead → execute → check the result → retry → record     executions.Executions
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import FieldProblem, PlimsollError
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import digest
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.domain.admission import Admitted, admit
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Report
from plimsoll_tool_dispatcher.domain.ledger import (
    Claim,
    Completed,
    GrantSpent,
    KeyTaken,
    NoEntry,
    Recorded,
    Reservation,
    StaleEpoch,
    Unfinished,
    abandoned,
    may_run_again,
)
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import CallInFlight, CallKeyTaken, InvalidDispatch, ToolNotFound
from plimsoll_tool_dispatcher.errors import StaleEpoch as StaleEpochError
from plimsoll_tool_dispatcher.executions import AT_ONCE_CHARS, Executions, Work, recorded
from plimsoll_tool_dispatcher.ports import CallLedger, ToolRegistry

_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.5  # between two looks at a call that runs elsewhere
_WAIT_CAP_S = 300.0
_SWEEP_BATCH = 100
_MAX_KEY_CHARS = 200


class ToolDispatcher:
    """Validates, authorises, records and executes tool calls."""

    def __init__(
        self,
        *,
        registry: ToolRegistry,
        ledger: CallLedger,
        executions: Executions,
        clock: Clock,
        ids: Ids,
        lease_s: float,
        arguments_chars: int,
        log: Log,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._executions = executions
        self._clock = clock
        self._ids = ids
        self._lease_s = lease_s
        self._arguments_chars = arguments_chars
        self._log = log

    def get_tool(self, tenant: str, name: str) -> Tool:
        """Raises ToolNotFound."""
        tool = self._registry.find(tenant, name)
        if tool is None:
            raise ToolNotFound(f"no tool is named {name[:80]!r}")
        return tool

    def list_tools(self, tenant: str, names: Sequence[str] = ()) -> Sequence[Tool]:
        """All tools, or those of the given names that there are."""
        tools = self._registry.list(tenant)
        return [tool for tool in tools if tool.name in names] if names else tools

    async def dispatch(self, call: Call) -> Report:
        """Execute the call, or return what is recorded under its key.

        Raises InvalidDispatch, StaleEpoch, CallKeyTaken, CallInFlight, and whatever the ledger's database raises.
        """
        _require_complete(call)
        tool = self._registry.find(call.tenant, call.tool)
        if call.arguments_chars > AT_ONCE_CHARS:
            admission = await asyncio.to_thread(admit, call, tool, self._arguments_chars)
        else:
            admission = admit(call, tool, self._arguments_chars)
        if isinstance(admission, Admitted):
            return await self._reserved(call, admission)
        found = await self._ledger.find(call)
        match found:
            case StaleEpoch() | KeyTaken():
                raise _forbidden(found)
            case Recorded():  # the tool or its definition may have gone since; what happened has not
                return recorded(found)
        if isinstance(admission, Failed):
            return await self._refused(call, admission.failure)
        return await self._without_grant(call, admission, found)

    async def settle_abandoned(self, stop: asyncio.Event) -> None:
        """Until `stop`: record as unknown what was in flight when a dispatcher died and must not be repeated."""
        while not stop.is_set():
            try:
                entries = await self._ledger.abandoned(_SWEEP_BATCH)
                for entry in entries:
                    if await self._ledger.give_up(entry, abandoned(entry), self._ids.new("evt")):
                        self._log.warning("call.outcome_unknown", {"call_id": entry.claim.call_id, "tool": entry.tool})
            except PlimsollError as error:
                self._log.warning("calls.not_swept", {"reason": error.reason})
                entries = ()
            if len(entries) < _SWEEP_BATCH:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lease_s):
                        await stop.wait()

    async def _reserved(self, call: Call, admitted: Admitted) -> Report:
        """Reserve the call and run it, or follow the dispatch that did."""
        reservation = Reservation(
            call_id=self._ids.new("call"),
            call=call,
            tool=admitted.tool,
            proposal=admitted.proposal,
            grant=admitted.grant,
            lease_s=self._lease_s,
        )
        patience = _Patience(self._clock)
        while True:
            found = await self._ledger.reserve(reservation)
            match found:
                case Claim():
                    return await self._executions.run(Work(call=call, admitted=admitted, claim=found))
                case Recorded():
                    return recorded(found)
                case Unfinished(held=True):
                    await self._executions.ended(found, patience.next_s())
                case Unfinished():
                    claim = await self._continue(reservation, found)
                    if claim is not None:
                        return await self._executions.run(Work(call=call, admitted=admitted, claim=claim))
                    patience.next_s()  # it changed meanwhile: look again
                case NoEntry():
                    return Report(outcome=ApprovalRequired(proposal=admitted.proposal), call_id=reservation.call_id)
                case GrantSpent():
                    return await self._refused(call, _grant_spent(call))
                case StaleEpoch() | KeyTaken():
                    raise _forbidden(found)

    async def _continue(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        """Take over a call whose owner went away, or record that nobody knows; None when there is nothing to run."""
        if may_run_again(entry):
            return await self._ledger.take_over(reservation, entry)
        await self._ledger.give_up(entry, abandoned(entry), self._ids.new("evt"))
        return None

    async def _without_grant(self, call: Call, asked: ApprovalRequired, found: Unfinished | NoEntry) -> Report:
        """A high-risk call without a grant that fits: continue it when its grant was spent on exactly this call before."""
        tool = self._registry.find(call.tenant, call.tool)
        if tool is not None and isinstance(found, Unfinished) and (found.held or found.call_digest == asked.proposal.call_digest):
            return await self._reserved(call, Admitted(tool=tool, proposal=asked.proposal, grant=None))
        return Report(outcome=asked, call_id=self._ids.new("call"))

    async def _refused(self, call: Call, failure: Failure) -> Report:
        """Nothing was reserved or sent. The id of the announcement is the same for every repeat, so that it counts once."""
        call_id = self._ids.new("call")
        tool = self._registry.find(call.tenant, call.tool)
        completed = Completed(
            event_id="evt_" + digest([call.tenant, call.key, failure.category, failure.reason])[:26],
            tenant=call.tenant,
            call_id=call_id,
            call_key=call.key,
            work=call.work,
            tool=call.tool[:80],
            tool_digest=tool.digest if tool else "",
            started_at=self._clock.now(),
            duration_s=0.0,
            attempts=0,
            failure=failure,
            grant_id="",
        )
        await self._ledger.announce(completed)
        return Report(outcome=Failed(failure=failure), call_id=call_id)


class _Patience:
    """How long to wait between looks at a call that another dispatch runs, growing, and no longer than the caller has time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + budget_s(_WAIT_CAP_S)
        self._look_s = _FIRST_LOOK_S

    def next_s(self) -> float:
        """Raises CallInFlight when there is no more time."""
        left = self._until - self._clock.monotonic()
        if left <= 0:
            raise CallInFlight(retry_after_s=1.0)
        look, self._look_s = min(self._look_s, left), min(self._look_s * 1.5, _LAST_LOOK_S)
        return look


def _require_complete(call: Call) -> None:
    problems = [
        FieldProblem(field, "is empty or holds a zero character", remedy)
        for field, value, remedy in (
            ("call_key", call.key, "send the key that was fixed before the first dispatch"),
            ("tool", call.tool, "name a tool"),
            ("work.run_id", call.work.run_id, "send the run that this call belongs to"),
        )
        if not value or "\0" in value
    ]
    if len(call.key) > _MAX_KEY_CHARS:
        problems.append(FieldProblem("call_key", f"is longer than {_MAX_KEY_CHARS} characters", "use a shorter key"))
    if call.work.epoch < 0:
        problems.append(FieldProblem("work.epoch", "is negative", "send the epoch of the claim"))
    if problems:
        raise InvalidDispatch(problems=problems)


def _forbidden(found: StaleEpoch | KeyTaken) -> PlimsollError:
    match found:
        case StaleEpoch(highest=highest):
            return StaleEpochError(f"a claim with epoch {highest} acts for this run", remedy="drop the run; its new owner goes on")
        case KeyTaken():
            return CallKeyTaken(remedy="use a fresh call key for a new request")


def _grant_spent(call: Call) -> Failure:
    return Failure(category=Category.POLICY_DENIED, reason="GRANT_SPENT", message="the grant was used for another call", where=call.tool)
