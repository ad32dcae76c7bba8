"""The verbs of the orchestrator's API: register agents, accept and follow runs, decide approvals."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from plimsoll_graph.graph import Graph
from plimsoll_graph.parse import parse_graph
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Conflict, FieldProblem
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject, dump_json

from plimsoll_orchestrator.domain.decide import decided, finished
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Entry, RunFinished, RunStarted, RunStatus
from plimsoll_orchestrator.domain.run import Run, fold
from plimsoll_orchestrator.errors import (
    AgentNotFound,
    ApprovalDecidedAlready,
    ApprovalExpired,
    ApprovalNotFound,
    InvalidInput,
    JournalBroken,
    RunFinishedAlready,
    RunNotFound,
)
from plimsoll_orchestrator.ports import (
    Accepted,
    AgentStore,
    AgentVersion,
    ApprovalView,
    JournalEntry,
    Release,
    RunStore,
    RunSummary,
    Signals,
    Submission,
)

_INPUT_CAP_BYTES = 4 * 1024 * 1024
_SOURCE_CAP_BYTES = 1024 * 1024
_PAGE = 500
_POLL_S = 2.0  # how late a follower may be when a wake-up call was lost
_TRIES = 8


class Watch(Protocol):
    """Tells followers that a journal may have grown."""

    def watching(self, run_id: str) -> AbstractAsyncContextManager[asyncio.Event]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run from outside: its summary, and the fold of its journal."""

    summary: RunSummary
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    agents: AgentStore
    runs: RunStore
    signals: Signals
    watch: Watch
    clock: Clock
    ids: Ids

    async def register_agent(self, tenant: str, source: str, source_name: str) -> tuple[AgentVersion, bool]:
        """Register a version; true when it is new. Raises InvalidGraph with every mistake."""
        if len(source) > _SOURCE_CAP_BYTES:
            raise InvalidInput(problems=(FieldProblem("source", f"is longer than {_SOURCE_CAP_BYTES} bytes", "split the agent"),))
        return await self.agents.register(tenant, parse_graph(source, source_name), source)

    async def get_agent(self, tenant: str, name: str) -> AgentVersion:
        """The newest version. Raises AgentNotFound."""
        version = await self.agents.newest(tenant, name)
        if version is None:
            raise AgentNotFound(f"no agent is named {name!r}", remedy="register it, or list the agents to see their names")
        return version

    async def list_agents(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        return await self.agents.list_newest(tenant, after, limit)

    async def start_run(self, tenant: str, agent: str, value: JsonObject, idempotency_key: str) -> tuple[RunView, bool]:
        """Accept a run: when this returns, it is durable. Raises AgentNotFound, InvalidInput, IdempotencyKeyReused."""
        graph = (await self.get_agent(tenant, agent)).graph
        _check_input(graph, value)
        accepted = await self.runs.accept(
            Submission(tenant=tenant, run_id=self.ids.new("run"), graph=graph, input=value, idempotency_key=idempotency_key)
        )
        if not accepted.created:
            return await self.get_run(tenant, accepted.run_id), False
        await self.signals.run_ready(accepted.run_id)
        return _fresh(accepted, tenant, graph, value), True

    async def get_run(self, tenant: str, run_id: str) -> RunView:
        """Raises RunNotFound."""
        summary = await self._summary(tenant, run_id)
        return RunView(summary=summary, run=await self._fold(tenant, summary))

    async def list_runs(self, tenant: str, agent: str, status: RunStatus | None, before: str, limit: int) -> Sequence[RunSummary]:
        """Newest first."""
        return await self.runs.list_runs(tenant, agent, status, before, limit)

    async def cancel_run(self, tenant: str, run_id: str, reason: str, cancelled_by: str) -> RunView:
        """Take the run from whoever holds it and end it. Raises RunNotFound, RunFinishedAlready."""
        for _ in range(_TRIES):
            view = await self.get_run(tenant, run_id)
            if view.run.status is RunStatus.CANCELLED:
                return view
            if view.run.is_final:
                raise RunFinishedAlready(f"the run has {view.run.status.value} already")
            failure = Failure(
                category=Category.POLICY_DENIED,
                reason="CANCELLED",
                message=f"cancelled by {cancelled_by or 'nobody named'}: {reason or 'no reason given'}",
            )
            ended = finished(view.run, RunStatus.CANCELLED, self.clock.now(), failure=failure)
            if await self._intervene(tenant, view.run, ended, Release(status=RunStatus.CANCELLED, wake_at=None)):
                await self.signals.run_interrupted(run_id)
                await self.signals.journals_grew([run_id])
                return await self.get_run(tenant, run_id)
        raise Conflict("the run moves on faster than it can be cancelled", reason="RUN_BUSY", retry_after_s=0.1)

    async def follow_run(self, tenant: str, run_id: str, after_seq: int) -> AsyncIterator[tuple[RunSummary, JournalEntry]]:
        """The journal after a position, as it grows, to its end. Raises RunNotFound."""
        summary = await self._summary(tenant, run_id)
        async with self.watch.watching(run_id) as grew:
            while True:
                grew.clear()
                entries = await self.runs.journal(tenant, run_id, after_seq, _PAGE)
                for entry in entries:
                    yield summary, entry
                    after_seq = entry.seq
                    if isinstance(entry.entry, RunFinished):
                        return
                if len(entries) == _PAGE:
                    continue
                if not entries and (await self._summary(tenant, run_id)).finished_at is not None:
                    return  # the cursor lies at the end already, or behind it
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await grew.wait()

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]:
        return await self.runs.list_approvals(tenant, status, run_id, after, limit)

    async def decide_approval(self, tenant: str, approval_id: str, approve: bool, comment: str, decided_by: str) -> ApprovalView:
        """Decide once; the same again returns what is recorded. Raises ApprovalNotFound, ApprovalDecidedAlready, ApprovalExpired."""
        wanted = ApprovalStatus.APPROVED if approve else ApprovalStatus.REJECTED
        for _ in range(_TRIES):
            view = await self.runs.approval(tenant, approval_id)
            if view is None:
                raise ApprovalNotFound(f"no approval has the id {approval_id!r}", remedy="list the approvals to see their ids")
            if view.approval.status is wanted:
                return view
            if view.approval.status in {ApprovalStatus.APPROVED, ApprovalStatus.REJECTED}:
                raise ApprovalDecidedAlready(f"{view.approval.decided_by or 'somebody'} has {view.approval.status.value} it already")
            if view.approval.status is not ApprovalStatus.PENDING or view.approval.expires_at <= self.clock.now():
                raise ApprovalExpired(remedy="start the run again")
            run = await self._fold(tenant, await self._summary(tenant, view.run_id))
            answer = decided(view.approval, wanted, self.clock.now(), decided_by=decided_by, comment=comment)
            if run.pending is None or run.pending.approval_id != approval_id:
                continue  # it moved on between the two reads
            release = Release(status=RunStatus.QUEUED, wake_at=self.clock.now() - timedelta(seconds=1))
            if await self._intervene(tenant, run, answer, release):
                await self.signals.run_ready(view.run_id)
                await self.signals.journals_grew([view.run_id])
        raise Conflict("the run moves on faster than it can be decided", reason="RUN_BUSY", retry_after_s=0.1)

    async def _intervene(self, tenant: str, run: Run, entry: Entry, release: Release) -> bool:
        after = replace(fold(run, [(run.seq + 1, self.clock.now(), entry)], run.node), status=release.status)
        return await self.runs.intervene(tenant, run.run_id, run.seq, [entry], after, release)

    async def _summary(self, tenant: str, run_id: str) -> RunSummary:
        summary = await self.runs.summary(tenant, run_id)
        if summary is None:
            raise RunNotFound(f"no run has the id {run_id!r}")
        return summary

    async def _fold(self, tenant: str, summary: RunSummary) -> Run:
        version = await self.agents.by_digest(tenant, summary.agent, summary.agent_digest)
        if version is None:
            raise JournalBroken(f"{summary.run_id}: its agent version does not exist")
        run = Run(run_id=summary.run_id, tenant=tenant, agent=summary.agent, agent_digest=summary.agent_digest)
        while True:
            entries = await self.runs.journal(tenant, summary.run_id, run.seq, _PAGE)
            run = fold(run, ((entry.seq, entry.at, entry.entry) for entry in entries), version.graph.start)
            if len(entries) < _PAGE:
                return run


def _fresh(accepted: Accepted, tenant: str, graph: Graph, value: JsonObject) -> RunView:
    """A run that was accepted just now: nothing needs to be read back."""
    fresh = Run(run_id=accepted.run_id, tenant=tenant, agent=graph.agent, agent_digest=graph.digest)
    run = fold(fresh, [(1, accepted.at, RunStarted(input=value))], graph.start)
    summary = RunSummary(
        run_id=run.run_id,
        agent=run.agent,
        agent_digest=run.agent_digest,
        status=RunStatus.QUEUED,
        seq=run.seq,
        node=run.node,
        steps=0,
        usage=run.usage,
        rehearsal=False,
        created_at=accepted.at,
        started_at=None,
        finished_at=None,
    )
    return RunView(summary=summary, run=run)


def _check_input(graph: Graph, value: JsonObject) -> None:
    size = len(dump_json(value))
    if size > _INPUT_CAP_BYTES:
        raise InvalidInput(
            problems=(FieldProblem("input", f"has {size} bytes; the limit is {_INPUT_CAP_BYTES}", "send less, or ingest it as a document"),)
        )
    problems = [
        FieldProblem(f"input.{path}" if path else "input", problem, f"see the input schema of agent {graph.agent}")
        for path, problem in graph.input_problems(value)
    ]
    if problems:
        raise InvalidInput(problems=problems)
