"""Perform: the step under way, by the kind of its node."""

import asyncio
from dataclasses import dataclass, replace
from typing import assert_never

from plimsoll_graph.expression import ExpressionFailed
from plimsoll_graph.graph import (
    AgentNode,
    ApproveNode,
    DecideNode,
    HandleNode,
    MapNode,
    ModelNode,
    Node,
    ParallelNode,
    RecallNode,
    RememberNode,
    RetrieveNode,
    SetNode,
    SignalNode,
    SubgraphNode,
    TimerNode,
    ToolNode,
)
from plimsoll_runtime.deadline import within
from plimsoll_runtime.errors import DeadlineExpired, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category, Failure, failure_from_error
from plimsoll_runtime.status import known

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.run import Run, Step
from plimsoll_orchestrator.ports import Hear, Memory, Models, Tools
from plimsoll_orchestrator.steps import agent, approve, fan_out, remember, single
from plimsoll_orchestrator.steps.outcome import Outcome
from plimsoll_orchestrator.steps.site import Site

_TIMEOUT_S = 120.0
_TIMEOUT_MOST_S = 86_400.0
_AWAY = frozenset({"UNREACHABLE", "CUT_OFF"})  # of the transport between services of the mesh
_AWAY_S = 15.0
_AWAY_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """Knows the services that steps call."""

    models: Models
    tools: Tools
    memory: Memory

    async def perform(
        self, run: Run, step: Step, node: Node, epoch: int, listen: Hear | None = None, cap_s: float | None = None
    ) -> Outcome:
        """Do the step, or its next turn, within the node's timeout and `cap_s`, what is left of the run's time. Never raises but for
        cancellation: what goes wrong is a failure."""
        site = Site(run=run, step=step, node=node, epoch=epoch, models=self.models, tools=self.tools, memory=self.memory, listen=listen)
        limit = min(node.timeout_s or _TIMEOUT_S, _TIMEOUT_MOST_S if cap_s is None else max(0.0, cap_s))
        try:
            async with within(limit):
                return await _patiently(site)
        except DeadlineExpired as error:
            message = f"the step took longer than {limit:g} s"
            failure = Failure(category=Category.TIMEOUT, reason=error.reason, message=message, retryable=True, where=node.name)
            return Failed(failure=failure, unsettled=True)
        except ExpressionFailed as error:
            return Failed(
                failure=Failure(category=Category.CONTEXT_INVALID, reason="EXPRESSION_FAILED", message=str(error), where=node.name)
            )
        except (PlimsollError, ExceptionGroup) as error:
            return Failed(failure=failure_from_error(error, node.name), unsettled=True)


async def _patiently(site: Site) -> Outcome:
    """A service of the mesh that is away for a moment, because it is replaced or restarted, is no failure of the run: what was asked of it
    is asked again, under the same keys."""
    patience = asyncio.get_running_loop().time() + _AWAY_S
    while True:
        try:
            return await _begin(site)
        except (Unavailable, ExceptionGroup) as error:
            if known(error).reason not in _AWAY or asyncio.get_running_loop().time() > patience:
                raise
        site = replace(site, again=True)
        await asyncio.sleep(_AWAY_PAUSE_S)


async def _begin(site: Site) -> Outcome:
    if not site.step.undo:
        return await _perform(site)
    assert site.node.undo is not None
    return await single.call_tool(site, site.node.undo)


async def _reported(site: Site, outcome: Outcome) -> Outcome:
    """Tell memory what the last turn's answer drew on."""
    if isinstance(outcome, Done) and isinstance(outcome.result, dict):
        await site.memory.report_use(str(outcome.result.get("text", "")), site.work)
    return outcome


async def _perform(site: Site) -> Outcome:  # noqa: C901 - one case for each kind of node
    match site.node.kind:
        case ModelNode() as kind:
            return await single.ask_model(site, kind)
        case ToolNode() as kind:
            return await single.call_tool(site, kind)
        case RetrieveNode() as kind:
            return await single.retrieve(site, kind)
        case AgentNode() as kind:
            return await _reported(site, await agent.take_turn(site, kind))
        case MapNode() as kind:
            return await fan_out.map_items(site, kind)
        case ApproveNode() as kind:
            return approve.gate(site, kind)
        case HandleNode() as kind:
            return approve.escalate(site, kind)
        case RememberNode() as kind:
            return await remember.note(site, kind)
        case RecallNode() as kind:
            return await remember.recall(site, kind)
        case DecideNode() | SetNode() | TimerNode() | SignalNode() | ParallelNode() | SubgraphNode():
            raise TypeError(f"{site.node.kind_name} nodes are decided, not performed")
        case _:
            assert_never(site.node.kind)
