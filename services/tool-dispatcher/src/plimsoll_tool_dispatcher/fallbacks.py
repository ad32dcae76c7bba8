"""What happens instead when a tool fails and declares it: another tool, its last result, or a fixed answer, each marked as such."""

from dataclasses import replace

from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import digest
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.attempts import Attempts, BeforeSent, Progress, Work
from plimsoll_tool_dispatcher.domain.admission import Admitted, admit
from plimsoll_tool_dispatcher.domain.call import Degraded, Failed, Outcome, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import Finding
from plimsoll_tool_dispatcher.domain.tool import CachedResult, FixedAnswer, OtherTool, Tool
from plimsoll_tool_dispatcher.ports import ResultCache, ToolRegistry
from plimsoll_tool_dispatcher.rules import Rulebooks

_FALLS_BACK = frozenset(
    {Category.TIMEOUT, Category.UPSTREAM_UNAVAILABLE, Category.RATE_LIMITED, Category.TOOL_ERROR, Category.MALFORMED_RESULT}
)


class Fallbacks:
    """Never after an unknown outcome (it may have acted), nor after the upstream's or the policy's no."""

    def __init__(self, *, registry: ToolRegistry, rulebooks: Rulebooks, attempts: Attempts, cache: ResultCache, log: Log) -> None:
        self._registry = registry
        self._rulebooks = rulebooks
        self._attempts = attempts
        self._cache = cache
        self._log = log

    async def instead(self, work: Work, failed: Failed, progress: Progress, before_sent: BeforeSent) -> Outcome:
        """What the tool declares for its failure; the failure itself when that does not help either."""
        fallback = work.tool.fallback
        if fallback is None or failed.failure.category not in _FALLS_BACK:
            return failed
        match fallback:
            case FixedAnswer(value=value):
                return Succeeded(result=value, degraded=Degraded(by="fixed", failure=failed.failure))
            case CachedResult(max_age_s=max_age_s):
                found = await self._cache.get(work.call.tenant, work.tool.digest, _arguments_digest(work), max_age_s)
                if found is None:
                    return failed
                return Succeeded(result=found[0], degraded=Degraded(by="cached", failure=failed.failure, age_s=found[1]))
            case OtherTool(name=name):
                return await self._other(work, failed, name, progress, before_sent)

    async def remember(self, work: Work, outcome: Outcome) -> None:
        """Keep a result for the day on which the tool fails."""
        if isinstance(work.tool.fallback, CachedResult) and isinstance(outcome, Succeeded):
            await self._cache.put(work.call.tenant, work.tool.digest, _arguments_digest(work), outcome.result)

    async def _other(self, work: Work, failed: Failed, name: str, progress: Progress, before_sent: BeforeSent) -> Outcome:
        admitted = await self._admitted(work, name)
        if admitted is None:
            return failed
        sent, progress.sent = progress.sent, False
        outcome = await self._attempts.run(replace(work, admitted=admitted), progress, before_sent, _nobody_knows)
        progress.sent = progress.sent or sent
        if isinstance(outcome, Succeeded):
            return replace(outcome, degraded=Degraded(by=f"tool:{name}", failure=failed.failure))
        return failed

    async def _admitted(self, work: Work, name: str) -> Admitted | None:
        """The same call of the other tool, through every stage by itself. Nobody is asked for leave, and nothing that must not run twice
        is called: what the ledger knows of this call is the first tool's effect class."""
        call = replace(work.call, tool=name, grants=())
        found = self._registry.find(call.tenant, name)
        if isinstance(found, Tool) and found.effect is EffectClass.NON_IDEMPOTENT:
            self._note_refused(work, name, "NON_IDEMPOTENT")
            return None
        admission = admit(call, found, await self._rulebooks.book(call, found))
        if isinstance(admission, Admitted) and admission.grant is None:
            return admission
        self._note_refused(work, name, admission.failure.reason if isinstance(admission, Failed) else "APPROVAL_REQUIRED")
        return None

    def _note_refused(self, work: Work, name: str, reason: str) -> None:
        self._log.warning(
            "call.fallback_refused", {"call_id": work.claim.call_id, "tool": work.tool.name, "fallback": name, "reason": reason}
        )


async def _nobody_knows(work: Work) -> Finding | None:
    return None


def _arguments_digest(work: Work) -> str:
    return digest(work.admitted.proposal.effective_arguments)
