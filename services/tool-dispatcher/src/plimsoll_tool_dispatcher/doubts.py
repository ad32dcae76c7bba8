"""Calls whose outcome nobody knows: the upstream is asked where the tool declares how, and what stays open is left to a person."""

import asyncio
from contextlib import suppress

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.attempts import Attempts, deadline_left_s
from plimsoll_tool_dispatcher.domain.call import Call
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.execution import Answered, Invocation
from plimsoll_tool_dispatcher.domain.ledger import Acted, Doubt, Finding, NotActed, abandoned
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import DoubtNotFound, InvalidResolution
from plimsoll_tool_dispatcher.ports import DoubtLedger, ToolRegistry, Vault

_BATCH = 100
_TRIES = 5
_AGAIN_S = 30.0
BY_RECONCILIATION = "reconcile"


class Reconciliation:
    """Asks a tool's `reconcile` tool what became of a call.

    It gets {call_key, arguments} and answers {acted: true, result: …}, {acted: false}, or anything else when it cannot say. It has to be
    read_only: asking must not act.
    """

    def __init__(self, *, registry: ToolRegistry, vault: Vault, attempts: Attempts, ids: Ids, log: Log) -> None:
        self._registry = registry
        self._vault = vault
        self._attempts = attempts
        self._ids = ids
        self._log = log

    async def ask(self, tool: Tool, call: Call, arguments: JsonObject) -> Finding | None:
        """What the upstream says about a call in flight, within its deadline."""
        return await self.ask_about(tool, call.tenant, call.key, call.work.run_id, arguments)

    async def ask_about(self, tool: Tool, tenant: str, call_key: str, run_id: str, arguments: JsonObject) -> Finding | None:
        """None when nobody can say."""
        asked = self._registry.find(tenant, tool.reconcile) if tool.reconcile else None
        if not isinstance(asked, Tool) or asked.effect is not EffectClass.READ_ONLY:
            if tool.reconcile:
                self._log.warning(
                    "call.not_reconciled", {"tool": tool.name, "reconcile": tool.reconcile, "reason": "NO_SUCH_READ_ONLY_TOOL"}
                )
            return None
        timeout_s = min(asked.timeout_s, deadline_left_s())
        if timeout_s <= 0:
            return None
        invocation = Invocation(
            tenant=tenant,
            call_key=call_key,
            arguments={"call_key": call_key, "arguments": arguments},
            timeout_s=timeout_s,
            credentials=self._vault.secrets(asked.credentials).values,
            run_id=run_id,
        )
        attempt = await self._attempts.once(asked, invocation, self._ids.new("att"))
        return _finding(tool, attempt.result) if isinstance(attempt, Answered) else None


class Doubts:
    """Settles what dead dispatchers and lost answers left behind, and lets people settle the rest."""

    def __init__(
        self,
        *,
        ledger: DoubtLedger,
        registry: ToolRegistry,
        reconciliation: Reconciliation,
        clock: Clock,
        ids: Ids,
        lease_s: float,
        log: Log,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._reconciliation = reconciliation
        self._clock = clock
        self._ids = ids
        self._lease_s = lease_s
        self._log = log

    async def watch(self, stop: asyncio.Event) -> None:
        """Until `stop`: record as unknown what must not be repeated, ask what became of it, and leave to people what nobody can say."""
        while not stop.is_set():
            try:
                full = await self.look() == _BATCH
            except PlimsollError as error:
                self._log.warning("calls.not_swept", {"reason": error.reason})
                full = False
            if not full:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(self._lease_s, 2.0)):
                        await stop.wait()

    async def look(self) -> int:
        """One round; how many calls it was about, at the most."""
        entries = await self._ledger.abandoned(_BATCH)
        for entry in entries:
            if await self._ledger.give_up(entry, abandoned(entry), self._ids.new("evt")):
                self._log.warning("call.outcome_unknown", {"call_id": entry.claim.call_id, "tool": entry.tool})
        due = await self._ledger.due(_BATCH, _AGAIN_S)
        async with asyncio.TaskGroup() as group:  # a slow upstream delays no other; its own bulkhead bounds how often it is asked at once
            for doubt in due:
                group.create_task(self._look_into(doubt))
        return max(len(entries), len(due))

    async def open(self, tenant: str, limit: int) -> "list[Doubt]":
        """The tenant's calls with an unknown outcome, oldest first."""
        return list(await self._ledger.open_doubts(tenant, limit))

    async def resolve(self, tenant: str, call_id: str, finding: Finding, by: str) -> None:
        """A person says what became of a call. Raises DoubtNotFound, InvalidResolution for a result that the tool could not have given."""
        doubt = await self._ledger.doubt(tenant, call_id)
        if doubt is None:
            raise DoubtNotFound
        tool = self._registry.find(tenant, doubt.tool)
        if isinstance(finding, Acted) and isinstance(tool, Tool) and (problems := tool.result.problems(finding.result, "result")):
            raise InvalidResolution(problems=problems)
        if not await self._ledger.settle_doubt(doubt, finding, by, self._ids.new("evt")):
            raise DoubtNotFound
        self._log.info("call.resolved", {"call_id": call_id, "tool": doubt.tool, "acted": isinstance(finding, Acted), "by": by})

    async def _look_into(self, doubt: Doubt) -> None:
        try:
            await self._settle(doubt)
        except PlimsollError as error:  # it comes up again
            self._log.warning("call.not_looked_into", {"call_id": doubt.claim.call_id, "reason": error.reason})

    async def _settle(self, doubt: Doubt) -> None:
        tool = self._registry.find(doubt.claim.tenant, doubt.tool)
        finding = None
        if isinstance(tool, Tool) and tool.reconcile and doubt.arguments is not None:
            finding = await self._reconciliation.ask_about(
                tool, doubt.claim.tenant, doubt.claim.call_key, doubt.work.run_id, doubt.arguments
            )
            if finding is None and doubt.tries < _TRIES:
                return  # it comes up again after a while
        if finding is not None:
            if await self._ledger.settle_doubt(doubt, finding, BY_RECONCILIATION, self._ids.new("evt")):
                self._log.info("call.reconciled", {"call_id": doubt.claim.call_id, "tool": doubt.tool, "acted": isinstance(finding, Acted)})
        elif await self._ledger.escalate(doubt, self._ids.new("evt")):
            self._log.error(
                "call.escalated",
                {"call_id": doubt.claim.call_id, "tool": doubt.tool, "remedy": "find out what it did, and resolve the call"},
            )


def _finding(tool: Tool, answer: JsonValue) -> Finding | None:
    match answer:
        case {"acted": True, "result": result} if not tool.result.problems(result, "result"):
            return Acted(result=result)
        case {"acted": False}:
            return NotActed()
    return None
