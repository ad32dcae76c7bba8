"""The verbs: dispatch a call through the pipeline, show the tools, take a grant back.

The pipeline of a call, in this order:
resolve → check the arguments → policy → approval                           domain.admission
→ call ledger                                                               here
→ limits and breaker → bulkhead → execute → check the result → retry        attempts.Attempts
→ fallback                                                                  fallbacks.Fallbacks
→ record                                                                    executions.Executions
"""

import asyncio
from collections.abc import Sequence

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import digest
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.attempts import AT_ONCE_CHARS, Work
from plimsoll_tool_dispatcher.domain.admission import Admitted, admit
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Report, Succeeded
from plimsoll_tool_dispatcher.domain.ledger import (
    Claim,
    Completed,
    GrantExpired,
    GrantRevoked,
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
from plimsoll_tool_dispatcher.domain.policy import Ruling, Verb
from plimsoll_tool_dispatcher.domain.registry import Barred
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import CallInFlight, InvalidDispatch, ToolNotFound
from plimsoll_tool_dispatcher.executions import Executions, forbidden, recorded
from plimsoll_tool_dispatcher.ports import Outside
from plimsoll_tool_dispatcher.rules import Rulebooks

_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.5  # between two looks at a call that runs elsewhere
_WAIT_CAP_S = 300.0
_MAX_KEY_CHARS = 200


class ToolDispatcher:
    """Validates, authorises, records and executes tool calls."""

    def __init__(self, outside: Outside, rulebooks: Rulebooks, executions: Executions, *, lease_s: float, log: Log) -> None:
        self._registry = outside.registry
        self._ledger = outside.ledger
        self._doubts = outside.doubts
        self._clock = outside.clock
        self._ids = outside.ids
        self._rulebooks = rulebooks
        self._executions = executions
        self._lease_s = lease_s
        self._log = log

    def get_tool(self, tenant: str, name: str) -> Tool | Barred:
        """Also one that is barred: its own tenant may know why. Raises ToolNotFound."""
        found = self._registry.find(tenant, name)
        if found is None:
            raise ToolNotFound(f"no tool is named {name[:80]!r}")
        return found

    def list_tools(self, tenant: str, names: Sequence[str] = ()) -> Sequence[Tool]:
        """All tools that may run, or those of the given names."""
        tools = self._registry.list(tenant)
        return [tool for tool in tools if tool.name in names] if names else tools

    async def dispatch(self, call: Call) -> Report:
        """Execute the call, or return what is recorded under its key.

        Raises InvalidDispatch, StaleEpoch, CallKeyTaken, CallInFlight, and whatever the ledger's database raises.
        """
        _require_complete(call)
        tool = self._registry.find(call.tenant, call.tool)
        book = await self._rulebooks.book(call, tool)
        large = call.arguments_chars > AT_ONCE_CHARS
        admission = await asyncio.to_thread(admit, call, tool, book) if large else admit(call, tool, book)
        if isinstance(admission, Admitted):
            return await self._reserved(call, admission)
        found = await self._ledger.find(call)
        match found:
            case StaleEpoch() | KeyTaken():
                raise forbidden(found)
            case Recorded():  # the tool or its definition may have gone since; what happened has not
                return recorded(found)
        if isinstance(admission, Failed):
            return await self._refused(call, admission)
        return await self._without_grant(call, admission, found)

    def labels(self, call: Call, report: Report) -> tuple[str, ...]:
        """What was done with data for an answer: by the tool, and by the one that stood in for it."""
        instead = report.outcome.degraded if isinstance(report.outcome, Succeeded) else None
        names = (call.tool,) if instead is None else (call.tool, instead.by.removeprefix("tool:"))
        found = (self._registry.find(call.tenant, name) for name in names)
        return tuple(dict.fromkeys(label for tool in found if isinstance(tool, Tool) for label in tool.labels))

    async def revoke(self, tenant: str, grant_id: str, by: str) -> bool:
        """Take a grant back before it is used; False when it was used already."""
        revoked = await self._ledger.revoke(tenant, grant_id, by)
        self._log.info("grant.revoked", {"grant_id": grant_id, "by": by, "in_time": revoked})
        return revoked

    async def _reserved(self, call: Call, admitted: Admitted) -> Report:
        """Reserve the call and run it, or follow the dispatch that did; run it unreserved where that will do."""
        reservation = Reservation(
            call_id=self._ids.new("call"),
            call=call,
            tool=admitted.tool,
            proposal=admitted.proposal,
            grant=admitted.grant,
            lease_s=self._lease_s,
            ruling=admitted.ruling,
        )
        report = await self._unreserved(reservation, admitted) if reservation.needs_none else None
        return report or await self._following(reservation, admitted)

    async def _following(self, reservation: Reservation, admitted: Admitted) -> Report:
        call = reservation.call
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
                case GrantSpent() | GrantRevoked() | GrantExpired():
                    return await self._refused(call, Failed(failure=_unusable(found, call), ruling=admitted.ruling))
                case StaleEpoch() | KeyTaken():
                    raise forbidden(found)

    async def _unreserved(self, reservation: Reservation, admitted: Admitted) -> Report | None:
        """Run a call that may run twice, and record it when it has ended; None when it was reserved after all, by another definition."""
        call, patience = reservation.call, _Patience(self._clock)
        while (other := self._executions.unreserved(call)) is not None:
            await asyncio.wait([other], timeout=patience.next_s())
        with self._executions.without_reservation(call):
            match found := await self._ledger.look_up(call):
                case NoEntry():
                    claim = Claim(tenant=call.tenant, call_key=call.key, call_id=reservation.call_id, fence=0)
                    return await self._executions.read(Work(call=call, admitted=admitted, claim=claim, unreserved=reservation))
                case Recorded():
                    return recorded(found)
                case Unfinished():
                    return None
                case StaleEpoch() | KeyTaken():
                    raise forbidden(found)

    async def _continue(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        """Take over a call whose owner went away, or record that nobody knows; None when there is nothing to run."""
        if may_run_again(entry):
            return await self._ledger.take_over(reservation, entry)
        await self._doubts.give_up(entry, abandoned(entry), self._ids.new("evt"))
        return None

    async def _without_grant(self, call: Call, asked: ApprovalRequired, found: Unfinished | NoEntry) -> Report:
        """A high-risk call without a grant that fits: continue it when its grant was spent on exactly this call before."""
        tool = self._registry.find(call.tenant, call.tool)
        continues = isinstance(found, Unfinished) and (found.held or found.call_digest == asked.proposal.call_digest)
        if isinstance(tool, Tool) and continues:
            book = await self._rulebooks.book(call, tool)
            ruling = Ruling(verb=Verb.APPROVE, policy=asked.proposal.policy, terms=asked.proposal.terms)
            return await self._reserved(call, Admitted(tool=tool, proposal=asked.proposal, grant=None, ruling=ruling, secrets=book.secrets))
        return Report(outcome=asked, call_id=self._ids.new("call"))

    async def _refused(self, call: Call, failed: Failed) -> Report:
        """Nothing was reserved or sent. The id of the announcement is the same for every repeat, so that it counts once."""
        call_id, failure, ruling = self._ids.new("call"), failed.failure, failed.ruling
        found = self._registry.find(call.tenant, call.tool)
        tool = found.tool if isinstance(found, Barred) else found
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
            effect=tool.effect if tool else None,
            policy=ruling.policy if ruling else "",
            rules=ruling.rules if ruling else (),
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


def _unusable(found: GrantSpent | GrantRevoked | GrantExpired, call: Call) -> Failure:
    match found:
        case GrantSpent():
            reason, message = "GRANT_SPENT", "the grant was used for another call"
        case GrantRevoked():
            reason, message = "GRANT_REVOKED", "the grant was taken back"
        case GrantExpired():
            reason, message = "GRANT_EXPIRED", "the grant's time was over"
    return Failure(category=Category.POLICY_DENIED, reason=reason, message=message, where=call.tool)
