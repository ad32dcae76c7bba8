"""The pipeline put together: from what is outside to the verbs. The composition root and the tests use the same assembly."""

from dataclasses import dataclass

from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.attempts import Attempts
from plimsoll_tool_dispatcher.doubts import Doubts, Reconciliation
from plimsoll_tool_dispatcher.executions import Executions
from plimsoll_tool_dispatcher.fallbacks import Fallbacks
from plimsoll_tool_dispatcher.ports import Outside
from plimsoll_tool_dispatcher.rules import Rulebooks
from plimsoll_tool_dispatcher.service import ToolDispatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What can be done. `executions` has to be entered: it owns the calls in flight."""

    service: ToolDispatcher
    executions: Executions
    doubts: Doubts


def assemble(outside: Outside, *, lease_s: float, arguments_chars: int, log: Log) -> Pipeline:
    """One pipeline; a process needs one."""
    registry, ledger, clock, ids = outside.registry, outside.ledger, outside.clock, outside.ids
    rulebooks = Rulebooks(outside.policies, outside.vault, ledger, arguments_chars)
    attempts = Attempts(executor=outside.executor, gate=outside.gate, clock=clock, pause=outside.pause, draw=outside.draw)
    reconciliation = Reconciliation(registry=registry, vault=outside.vault, attempts=attempts, ids=ids, log=log)
    fallbacks = Fallbacks(registry=registry, rulebooks=rulebooks, attempts=attempts, cache=outside.cache, log=log)
    executions = Executions(outside, attempts, fallbacks, reconciliation, lease_s=lease_s, log=log)
    service = ToolDispatcher(outside, rulebooks, executions, lease_s=lease_s, log=log)
    doubts = Doubts(ledger=outside.doubts, registry=registry, reconciliation=reconciliation, clock=clock, ids=ids, lease_s=lease_s, log=log)
    return Pipeline(service=service, executions=executions, doubts=doubts)
