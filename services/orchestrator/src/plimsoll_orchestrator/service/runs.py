"""Agents and runs: register, accept, read, follow."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from msgspec import structs, to_builtins
from plimsoll_graph.expression import ExpressionFailed
from plimsoll_graph.graph import Graph
from plimsoll_graph.parse import parse_graph
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject, digest, dump_json

from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import ApprovalStatus, RunStatus
from plimsoll_orchestrator.domain.options import CLIENT, USUAL, RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.scope import scope_of
from plimsoll_orchestrator.errors import AgentNotFound, AgentSuperseded, InvalidInput, JournalBroken, ThreadNotFound
from plimsoll_orchestrator.ports import (
    Accepted,
    AgentStore,
    AgentVersion,
    ApprovalView,
    RunFilter,
    RunStore,
    RunSummary,
    Signals,
    Submission,
    Thread,
    submission,
)
from plimsoll_orchestrator.service.pinning import pin
from plimsoll_orchestrator.service.reading import PAGE, fold_of, graph_of, summary_of, unread, unreadable

_INPUT_CAP_BYTES = 4 * 1024 * 1024
_SOURCE_CAP_BYTES = 1024 * 1024
_KEY_CAP = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run from outside: its summary, and the fold of its journal."""

    summary: RunSummary
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """`created` is false when the key belongs to a run already; `steered` when the input went to the run under way of the thread."""

    view: RunView
    created: bool
    steered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    agents: AgentStore
    runs: RunStore
    signals: Signals
    clock: Clock
    ids: Ids

    async def register_agent(self, tenant: str, source: str, source_name: str) -> tuple[AgentVersion, bool]:
        """Register a version; true when it is new. Raises InvalidGraph with every mistake."""
        if len(source) > _SOURCE_CAP_BYTES:
            raise InvalidInput(problems=(FieldProblem("source", f"is longer than {_SOURCE_CAP_BYTES} bytes", "split the agent"),))
        checked = await asyncio.to_thread(parse_graph, source, source_name)  # up to seconds for the largest
        graph, pinned = await pin(self.agents, tenant, checked, source)
        return await self.agents.register(tenant, graph, pinned)

    async def get_agent(self, tenant: str, name: str) -> AgentVersion:
        """The newest version. Raises AgentNotFound."""
        version = await self.agents.newest(tenant, name)
        if version is None:
            raise AgentNotFound(f"no agent is named {name!r}", remedy="register it, or list the agents to see their names")
        return version

    async def list_agents(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        return await self.agents.list_newest(tenant, after, limit)

    async def start_run(
        self,
        tenant: str,
        agent: str,
        value: JsonObject,
        idempotency_key: str,
        options: RunOptions = USUAL,
        origin: RunOrigin = CLIENT,
    ) -> Started:
        """Accept a run: when this returns, it is durable. Raises AgentNotFound, InvalidInput, IdempotencyKeyReused, ThreadBusy."""
        recent = self.agents.recent(tenant, agent)
        if recent is not None:
            with suppress(AgentSuperseded, InvalidInput):  # what is wrong is said by the newest version
                return await self._start(tenant, recent.graph, value, idempotency_key, options, origin, recent.version)
        version = await self.get_agent(tenant, agent)
        return await self._start(tenant, version.graph, value, idempotency_key, options, origin)

    async def _start(
        self,
        tenant: str,
        graph: Graph,
        value: JsonObject,
        idempotency_key: str,
        options: RunOptions,
        origin: RunOrigin,
        version: int = 0,
    ) -> Started:
        check_input(graph, value)
        made = submission(
            tenant,
            self.ids.new("run"),
            graph,
            value,
            options=with_concurrency(graph, value, options),
            origin=origin,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(graph.agent, value, options) if idempotency_key else "",
        )
        return await self.submit(replace(made, agent_version=version), graph)

    async def submit(self, made: Submission, graph: Graph) -> Started:
        """Make a run durable and wake whoever it concerns."""
        accepted = await self.runs.accept(made)
        if accepted.readied:
            await self.signals.runs_readied(accepted.readied)
        if not accepted.created:
            view = await self.get_run(made.tenant, accepted.run_id)
            return Started(view=view, created=False, steered=accepted.steered)
        await self.signals.run_ready(accepted.run_id)
        return Started(view=_fresh(accepted, made, graph), created=True)

    async def get_run(self, tenant: str, run_id: str) -> RunView:
        """Raises RunNotFound."""
        summary = await summary_of(self.runs, tenant, run_id)
        if summary.pruned_seq:
            return await self._pruned(tenant, summary)
        try:
            graph = await graph_of(self.agents, tenant, summary)
            return RunView(summary=summary, run=await fold_of(self.runs, tenant, summary, graph))
        except JournalBroken as error:  # what is wrong with it has to be seen by those who can mend or end it
            return RunView(summary=summary, run=await self._unread(tenant, summary, error))

    async def _unread(self, tenant: str, summary: RunSummary, error: JournalBroken) -> Run:
        """A run whose journal cannot be read: its end when it has one, or why it cannot be read."""
        run = (await unread(self.runs, tenant, summary.run_id, unreadable(error))).run
        if not run.is_final:
            return run
        with suppress(JournalBroken):
            last = await self.runs.journal(tenant, run.run_id, summary.seq - 1, 1)
            return fold(structs.replace(run, seq=summary.seq - 1), ((one.seq, one.at, one.entry) for one in last), run.node)
        return run

    async def _pruned(self, tenant: str, summary: RunSummary) -> RunView:
        """What is left of a finished run whose journal is gone: its end."""
        run = Run(run_id=summary.run_id, tenant=tenant, agent=summary.agent, agent_digest=summary.agent_digest)
        entries = await self.runs.journal(tenant, summary.run_id, summary.pruned_seq, PAGE)
        run = structs.replace(
            run, seq=entries[0].seq - 1 if entries else summary.seq, node=summary.node, usage=summary.usage, steps=summary.steps
        )
        return RunView(summary=summary, run=fold(run, ((entry.seq, entry.at, entry.entry) for entry in entries), run.node))

    async def list_runs(self, tenant: str, filter_: RunFilter, before: str, limit: int) -> Sequence[RunSummary]:
        """Newest first."""
        return await self.runs.list_runs(tenant, filter_, before, limit)

    async def get_thread(self, tenant: str, thread_id: str) -> Thread:
        """Raises ThreadNotFound."""
        thread = await self.runs.thread(tenant, thread_id)
        if thread is None:
            raise ThreadNotFound(f"no thread has the id {thread_id!r}")
        return thread

    async def list_threads(self, tenant: str, after: str, limit: int) -> Sequence[Thread]:
        return await self.runs.list_threads(tenant, after, limit)

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]:
        return await self.runs.list_approvals(tenant, status, run_id, after, limit)


def with_concurrency(graph: Graph, value: JsonObject, options: RunOptions) -> RunOptions:
    """The graph's concurrency key, where the submission has none of its own. Raises InvalidInput."""
    if graph.concurrency is None or options.concurrency_key:
        return options
    try:
        key = graph.concurrency.key.evaluate(
            scope_of(Run(run_id="", tenant="", agent=graph.agent, agent_digest="", input=value, state=value))
        )
    except ExpressionFailed as error:
        raise InvalidInput(
            problems=(FieldProblem("input", f"has no concurrency key: {error}", "see `concurrency` of the agent"),)
        ) from error
    name = f"{graph.agent} {key if isinstance(key, str) else dump_json(key)}"
    if len(name) > _KEY_CAP or "\0" in name:
        problem = f"makes a concurrency key of {len(name)} characters, with the agent's name; the limit is {_KEY_CAP}, without U+0000"
        raise InvalidInput(problems=(FieldProblem("input", problem, "let `concurrency.key` of the agent be an id"),))
    return structs.replace(options, concurrency_key=name, concurrency_limit=graph.concurrency.limit)


def fingerprint(agent: str, value: JsonObject, options: RunOptions) -> str:
    """What makes two requests with one key the same request."""
    request: JsonObject = {"agent": agent, "input": value}
    if options != USUAL:
        request["options"] = to_builtins(options)
    return digest(request)


def _fresh(accepted: Accepted, made: Submission, graph: Graph) -> RunView:
    """A run that was accepted just now: nothing needs to be read back."""
    fresh = Run(run_id=accepted.run_id, tenant=made.tenant, agent=graph.agent, agent_digest=graph.digest)
    run = fold(fresh, [(1, accepted.at, made.first)], graph.start)
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


def check_input(graph: Graph, value: JsonObject) -> None:
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
