"""What admission goes by for one call: the present policy, the tool's credentials, and what the run has read so far.

That is what the ledger knows of the run's own calls, and what the caller says it holds besides: from memory, and from other runs."""

from plimsoll_tool_dispatcher.domain.admission import Rulebook
from plimsoll_tool_dispatcher.domain.call import Call, Secrets
from plimsoll_tool_dispatcher.domain.registry import Barred, Resolved
from plimsoll_tool_dispatcher.ports import CallLedger, Policies, Vault

_NONE = Secrets()


class Rulebooks:
    """Puts the rules together; asks the ledger only for a policy that looks at the run's labels."""

    def __init__(self, policies: Policies, vault: Vault, ledger: CallLedger, arguments_chars: int) -> None:
        self._policies = policies
        self._vault = vault
        self._ledger = ledger
        self._arguments_chars = arguments_chars

    async def book(self, call: Call, found: Resolved) -> Rulebook:
        """For this call of this tool."""
        policy = self._policies.current()
        read = (*call.work.labels, *await self._ledger.labels(call.tenant, call.work.run_id)) if policy.sees_labels else ()
        return Rulebook(
            policy=policy,
            most_chars=self._arguments_chars,
            run_labels=tuple(dict.fromkeys(read)),
            secrets=_NONE
            if found is None or isinstance(found, Barred) or not found.credentials
            else self._vault.secrets(found.credentials),
        )
