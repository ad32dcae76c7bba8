"""Control of runs from outside: cancel, pause, resume, signal, fork, retry, decide, query, explain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import structs
from plimsoll_graph.cost import GROWTH_CAP, growth
from plimsoll_graph.expression import ExpressionBroken, ExpressionFailed, compile_expression
from plimsoll_graph.graph import END, Graph, HandleNode
from plimsoll_graph.syntax import parsed
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Conflict, FieldProblem
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest, dump_json

from plimsoll_orchestrator.domain.approving import approved
from plimsoll_orchestrator.domain.decide import cancellation, cancelled, decided, finished
from plimsoll_orchestrator.domain.explain import Obstacle, explain
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    ApprovalDecided,
    ApprovalGiven,
    ApprovalStatus,
    Entry,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStatus,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import Delivery, SignalSent, letters_of
from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.scope import scope_of
from plimsoll_orchestrator.drafting import kept_of
from plimsoll_orchestrator.errors import (
    ApprovalDecidedAlready,
    ApprovalExpired,
    ApprovalNotFound,
    InvalidInput,
    JournalBroken,
    NothingToRetry,
    RunFinishedAlready,
    RunNotStopped,
)
from plimsoll_orchestrator.ports import Append, ApprovalView, Grants, Release, Submission, growths
from plimsoll_orchestrator.ports.workers import Workers
from plimsoll_orchestrator.service.reading import fold_of, graph_of, summary_of, unread
from plimsoll_orchestrator.service.runs import Orchestrator, RunView, Started, with_concurrency

_TAKE_OVER = -1  # the epoch of a writer that takes the run from whoever holds it
_ALL_MAIL = 2**62  # an intervention does not read letters, and does not wake the run for them
_TRIES = 8
_SEEN_S = 15.0  # a worker says every four seconds that it is there
_PAYLOAD_CAP_BYTES = 256 * 1024
_CHANGES_CAP_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Where to fork and what to change.

    Attributes:
    seq      the state as it was after this entry; 0 means the last one
    changes  fields of the state; null takes a field away
    node     go on there; empty means where the run was
    latest   with the newest version of the agent
    asked_by who asks for it
    """

    seq: int = 0
    changes: JsonObject
    node: str = ""
    latest: bool = False
    asked_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    orchestrator: Orchestrator
    workers: Workers
    grants: Grants
    clock: Clock
    ids: Ids

    # --- stop and go ------------------------------------------------------------------------------------------------------------

    async def cancel_run(self, tenant: str, run_id: str, reason: str, cancelled_by: str) -> RunView:
        """Take the run from whoever holds it and end it; runs that it started are told to end. One whose journal cannot be read is ended
        as well. Raises RunNotFound, RunFinishedAlready."""

        def end(run: Run) -> tuple[Entry, ...]:
            if run.status is RunStatus.CANCELLED:
                return ()
            if run.is_final:
                raise RunFinishedAlready(f"the run has {run.status.value} already")
            return cancelled(run, self.clock.now(), reason, cancelled_by)

        release = Release(status=RunStatus.CANCELLED, wake_at=None)
        try:
            view = await self._change(tenant, run_id, end, release)
        except JournalBroken as error:
            view = await self._end_unread(tenant, run_id, cancellation(reason, cancelled_by, unread=error), release)
        for approval in view.run.approvals.values():  # the worker that was cut off may still be about to use one
            if approval.proposal is not None and approval.status is ApprovalStatus.APPROVED and approval.node == view.run.node:
                await self.grants.revoke(approval.approval_id)
        return view

    async def _end_unread(self, tenant: str, run_id: str, failure: Failure, release: Release) -> RunView:
        """End a run of which only the tables tell: what it started, who waits for it, what it stands before."""
        for _ in range(_TRIES):
            known = await unread(self.orchestrator.runs, tenant, run_id)
            run, now = known.run, self.clock.now()
            if run.status is RunStatus.CANCELLED:
                return await self.orchestrator.get_run(tenant, run_id)
            if run.is_final:
                raise RunFinishedAlready(f"the run has {run.status.value} already")
            last = finished(run, release.status, now, failure=failure)
            after = fold(run, [(run.seq + 1, now, last)], run.node)
            if await self._write(run, after, (last,), release, known.deliveries(after)):
                return await self.orchestrator.get_run(tenant, run_id)
        raise Conflict("the run moves on faster than it can be changed", reason="RUN_BUSY", retry_after_s=0.1)

    async def pause_run(self, tenant: str, run_id: str, reason: str, paused_by: str) -> RunView:
        """Stop the run where it is. What it has in flight is done again under the same keys when it goes on. Raises RunFinishedAlready."""

        def pause(run: Run) -> tuple[Entry, ...]:
            if run.is_final:
                raise RunFinishedAlready(f"the run has {run.status.value} already")
            return () if run.status is RunStatus.PAUSED else (RunPaused(reason=reason, paused_by=paused_by),)

        return await self._change(tenant, run_id, pause, Release(status=RunStatus.PAUSED, wake_at=None))

    async def resume_run(self, tenant: str, run_id: str, resumed_by: str) -> RunView:
        """Let a paused or quarantined run go on. Raises RunNotStopped, RunFinishedAlready."""

        def resume(run: Run) -> tuple[Entry, ...]:
            if run.is_final:
                raise RunFinishedAlready(f"the run has {run.status.value} already", remedy="fork it, or retry it when it failed")
            if not run.is_stopped:
                raise RunNotStopped(f"the run is {run.status.value}, neither paused nor quarantined")
            return (RunResumed(resumed_by=resumed_by),)

        return await self._change(tenant, run_id, resume, Release(status=RunStatus.QUEUED, wake_at=self.clock.now() - _AT_ONCE))

    async def _change(self, tenant: str, run_id: str, entries_for: Callable[[Run], tuple[Entry, ...]], release: Release) -> RunView:
        """Append what `entries_for` says of the run as it is, whoever holds it."""
        for _ in range(_TRIES):
            run, graph = await self._load(tenant, run_id)
            entries = entries_for(run)
            if not entries or await self._intervene(run, graph, entries, release):
                return await self.orchestrator.get_run(tenant, run_id)
        raise Conflict("the run moves on faster than it can be changed", reason="RUN_BUSY", retry_after_s=0.1)

    # --- signals and decisions --------------------------------------------------------------------------------------------------

    async def signal_run(self, tenant: str, run_id: str, name: str, payload: JsonValue, idempotency_key: str, sent_by: str) -> str:
        """Put a signal into the run's mailbox; returns its id. Raises RunNotFound, RunFinishedAlready, MailboxFull, InvalidInput."""
        size = len(dump_json(payload))
        if size > _PAYLOAD_CAP_BYTES:
            problem = FieldProblem("payload", f"has {size} bytes; the limit is {_PAYLOAD_CAP_BYTES}", "send a reference to the data")
            raise InvalidInput(problems=(problem,))
        key = digest({"run": run_id, "key": idempotency_key})[:26] if idempotency_key else ""
        signal_id = f"sgn_{key}" if key else self.ids.new("sgn")
        letter = SignalSent(signal_id=signal_id, name=name, payload=payload, sent_by=sent_by)
        if not await self.orchestrator.runs.deliver(tenant, Delivery(run_id=run_id, letter_id=signal_id, letter=letter)):
            run, _ = await self._load(tenant, run_id)
            if signal_id in run.seen:  # the same again, after it was taken
                return signal_id
            raise RunFinishedAlready(f"the run has {run.status.value} already")
        await self.orchestrator.signals.runs_readied([run_id])
        return signal_id

    async def propose_instead(self, tenant: str, approval_id: str, arguments: JsonObject, comment: str, decided_by: str) -> ApprovalView:
        """Reject the proposed call, and let the run ask about it anew with these arguments. Raises what a rejection does, and InvalidInput."""
        size = len(dump_json(arguments))
        if size > _PAYLOAD_CAP_BYTES:
            problem = FieldProblem("arguments", f"have {size} bytes; the limit is {_PAYLOAD_CAP_BYTES}", "send a reference to the data")
            raise InvalidInput(problems=(problem,))
        view = await self.orchestrator.runs.approval(tenant, approval_id)
        if view is not None and view.approval.proposal is None:
            raise InvalidInput(
                problems=(FieldProblem("arguments", "belong to a call, and no call is bound to this question", "omit them"),)
            )
        return await self.decide_approval(tenant, approval_id, False, comment, decided_by, arguments)

    async def decide_approval(
        self, tenant: str, approval_id: str, approve: bool, comment: str, decided_by: str, arguments: JsonObject | None = None
    ) -> ApprovalView:
        """Say yes or no; the same again returns what is recorded. One no decides, and as many yeses as policy wants. Who said yes may take it
        back until the call is made. Raises ApprovalNotFound, ApproverNotAllowed, ApprovalDecidedAlready, ApprovalExpired."""
        wanted = ApprovalStatus.APPROVED if approve else ApprovalStatus.REJECTED
        for _ in range(_TRIES):
            view = await self.orchestrator.runs.approval(tenant, approval_id)
            if view is None:
                raise ApprovalNotFound(f"no approval has the id {approval_id!r}", remedy="list the approvals to see their ids")
            if view.approval.status is wanted:
                return view
            if view.approval.status is ApprovalStatus.APPROVED and await self._take_back(tenant, view, decided_by, comment):
                continue
            if view.approval.status in {ApprovalStatus.APPROVED, ApprovalStatus.REJECTED}:
                raise ApprovalDecidedAlready(f"{view.approval.decided_by or 'somebody'} has {view.approval.status.value} it already")
            if view.approval.status is not ApprovalStatus.PENDING or view.approval.expires_at <= self.clock.now():
                raise ApprovalExpired(remedy="start the run again")
            run, graph = await self._load(tenant, view.run_id)
            if run.pending is None or run.pending.approval_id != approval_id:
                continue  # it moved on between the two reads
            now = self.clock.now()
            if approve:
                answer = approved(run.pending, run.origin.requested_by, decided_by, comment, now)
            else:
                answer = decided(run.pending, wanted, now, decided_by=decided_by, comment=comment, arguments=arguments)
            if answer is None:  # this person has said so: others are still to decide
                return view
            await self._intervene(run, graph, (answer,), _after(answer, run, now))
        raise Conflict("the run moves on faster than it can be decided", reason="RUN_BUSY", retry_after_s=0.1)

    async def _take_back(self, tenant: str, view: ApprovalView, by: str, comment: str) -> bool:
        """Withdraw an approval that `by` gave and nobody has used; false when that is not so. The grant goes first: a call that is made
        meanwhile has either spent it, or is refused."""
        approval = view.approval
        if approval.proposal is None or not by or by not in approval.approved_by:
            return False
        run, graph = await self._load(tenant, view.run_id)
        if run.step is None or approval.approval_id not in run.step.approvals or not await self.grants.revoke(approval.approval_id):
            return False
        now = self.clock.now()
        answer = decided(approval, ApprovalStatus.REJECTED, now, decided_by=by, comment=comment)
        return await self._intervene(run, graph, (answer,), _after(answer, run, now))

    # --- again, and otherwise ---------------------------------------------------------------------------------------------------

    async def fork_run(self, tenant: str, run_id: str, fork: Fork, options: RunOptions, idempotency_key: str) -> Started:
        """Start a new run from a position of another one. Raises RunNotFound, StepPruned, InvalidInput, IdempotencyKeyReused."""
        summary = await summary_of(self.orchestrator.runs, tenant, run_id)
        if not 0 <= fork.seq <= summary.seq:
            raise InvalidInput(problems=(FieldProblem("seq", f"is {fork.seq}", f"send 1 to {summary.seq}, or 0 for the last"),))
        own = await graph_of(self.orchestrator.agents, tenant, summary)
        run = await fold_of(self.orchestrator.runs, tenant, summary, own, fork.seq or summary.seq)
        graph = (await self.orchestrator.get_agent(tenant, summary.agent)).graph if fork.latest else own
        node = fork.node or (run.step.node if run.step else run.node)
        state = {name: value for name, value in {**run.state, **fork.changes}.items() if value is not None or name not in fork.changes}
        _check_fork(run, graph, fork, node, state)
        prompts = {} if fork.latest else dict(run.prompts)
        origin = RunOrigin(forked_run_id=run.run_id, forked_seq=run.seq, requested_by=fork.asked_by)
        first = RunStarted(input=run.input, options=options, origin=origin, state=state, node=node, prompts=prompts)
        request: JsonObject = {"fork": run_id, "seq": fork.seq, "changes": fork.changes, "node": fork.node, "latest": fork.latest}
        return await self._start(run, graph, first, request, idempotency_key)

    async def retry_run(self, tenant: str, run_id: str, latest: bool, idempotency_key: str) -> Started:
        """Start a new run from the step at which one failed. Calls whose outcome is open keep their keys, so that what acted is found
        and not repeated. Raises RunNotFound, NothingToRetry, StepPruned, IdempotencyKeyReused."""
        run, own = await self._load(tenant, run_id, whole=True)
        if run.status is not RunStatus.FAILED:
            raise NothingToRetry(f"the run is {run.status.value}, not failed", remedy="fork it from the entry that you want")
        graph = (await self.orchestrator.get_agent(tenant, run.agent)).graph if latest else own
        at = graph.nodes.get(run.node)
        node = run.failed.node if run.failed is not None and at is not None and isinstance(at.kind, HandleNode) else run.node
        node = run.undone[-1] if run.undone else node  # what was undone has to be done again, from the first of it on
        _check_fork(run, graph, Fork(changes={}, latest=latest), node, run.state)
        options = structs.replace(run.options, deadline=None, not_before=None, thread_id="")
        prompts = {} if latest else dict(run.prompts)
        origin = RunOrigin(forked_run_id=run.run_id, forked_seq=run.seq, thread_id=run.thread_id, requested_by=run.origin.requested_by)
        first = RunStarted(
            input=run.input, options=options, origin=origin, state=run.state, node=node, keys=dict(run.unsettled), prompts=prompts
        )
        return await self._start(run, graph, first, {"retry": run_id, "latest": latest}, idempotency_key)

    async def _start(self, run: Run, graph: Graph, first: RunStarted, request: JsonObject, idempotency_key: str) -> Started:
        """A new run out of another one. `request` is what was asked for: by it a repeat with the same key is known."""
        value = run.input if isinstance(run.input, dict) else {}
        begun = structs.replace(first, options=with_concurrency(graph, value, first.options), labels=run.labels)
        made = Submission(
            tenant=run.tenant,
            run_id=self.ids.new("run"),
            agent=graph.agent,
            agent_digest=graph.digest,
            node=first.node,
            first=begun,
            idempotency_key=idempotency_key,
            fingerprint=digest(request) if idempotency_key else "",
        )
        return await self.orchestrator.submit(made, graph)

    # --- questions --------------------------------------------------------------------------------------------------------------

    async def query_run(self, tenant: str, run_id: str, expression: str) -> tuple[JsonValue, int]:
        """(value of a CEL expression over the run as it is now, its position). Raises RunNotFound, InvalidInput."""
        run, _ = await self._load(tenant, run_id, whole=True)
        scope = dict(scope_of(run))
        facts = scope["run"]
        assert isinstance(facts, dict)
        usage: JsonObject = {"tokens": run.usage.tokens, "cost_micros": run.usage.cost_micros}
        scope["run"] = {**facts, "status": run.status.value, "node": run.node, "steps": run.steps, "seq": run.seq, "usage": usage}
        try:
            question = compile_expression(expression)
            if growth(parsed(question)) > GROWTH_CAP:
                problem = FieldProblem("expression", "could make a value thousands of times as large as what it reads", "ask for less")
                raise InvalidInput(problems=(problem,))
            return question.evaluate(scope), run.seq
        except (ExpressionBroken, ExpressionFailed) as error:
            raise InvalidInput(problems=(FieldProblem("expression", str(error), "CEL over state, input and run"),)) from error

    async def explain_run(self, tenant: str, run_id: str) -> Sequence[Obstacle]:
        """What the run waits for. Raises RunNotFound."""
        run, graph = await self._load(tenant, run_id)
        standing = await self.orchestrator.runs.standing(tenant, run_id)
        workers = await self.workers.seen(_SEEN_S)
        return explain(run, graph, standing, len(workers)) if standing is not None else ()

    # --- common -----------------------------------------------------------------------------------------------------------------

    async def _load(self, tenant: str, run_id: str, *, whole: bool = False) -> tuple[Run, Graph]:
        """`whole`: raises StepPruned when only the run's end is left."""
        summary = await summary_of(self.orchestrator.runs, tenant, run_id)
        graph = await graph_of(self.orchestrator.agents, tenant, summary)
        if summary.pruned_seq and not whole:
            return (await self.orchestrator.get_run(tenant, run_id)).run, graph
        run = await fold_of(self.orchestrator.runs, tenant, summary, graph)
        if summary.status is RunStatus.QUARANTINED and not run.is_final:
            run = structs.replace(run, status=summary.status)  # set aside by a worker that could not read its journal, nor write to it
        return run, graph

    async def _intervene(self, run: Run, graph: Graph, entries: tuple[Entry, ...], release: Release) -> bool:
        now = self.clock.now()
        folded = fold(run, ((run.seq + place, now, entry) for place, entry in enumerate(entries, 1)), graph.start)
        after = structs.replace(folded, status=release.status)
        if after.status is RunStatus.PAUSED:  # its deadline goes on
            release = Release(status=release.status, wake_at=after.options.deadline)
        return await self._write(run, after, entries, release, letters_of(run, after), kept_of(after, graph))

    async def _write(
        self,
        run: Run,
        after: Run,
        entries: tuple[Entry, ...],
        release: Release,
        deliveries: Sequence[Delivery],
        kept: JsonObject | None = None,
    ) -> bool:
        append = Append(
            run_id=run.run_id,
            tenant=run.tenant,
            epoch=_TAKE_OVER,
            expected_seq=run.seq,
            entries=entries,
            encoded=[encode_entry(entry) for entry in entries],
            run=after,
            release=release,
            deliveries=deliveries,
            mail=_ALL_MAIL,
            kept=kept,
            look_at=release.wake_at,
        )
        committed = await self.orchestrator.runs.intervene(append)
        signals = self.orchestrator.signals
        if committed.readied:
            await signals.runs_readied(committed.readied)
        if run.run_id not in committed.appended:
            return False
        await signals.run_interrupted(run.run_id)
        await signals.journals_grew(growths([append], committed))
        if release.wake_at is not None:
            await signals.run_ready(run.run_id)
        return True


_AT_ONCE = timedelta(seconds=1)


def _after(answer: ApprovalGiven | ApprovalDecided, run: Run, now: datetime) -> Release:
    """Where an answer leaves the run: one that does not decide leaves it waiting, and none resumes what somebody has stopped."""
    if run.is_stopped:
        return Release(status=run.status, wake_at=None)
    if isinstance(answer, ApprovalDecided) or run.pending is None:
        return Release(status=RunStatus.QUEUED, wake_at=now - _AT_ONCE)
    ends = run.pending.expires_at
    return Release(status=RunStatus.WAITING, wake_at=min(ends, run.options.deadline or ends))


def _check_fork(run: Run, graph: Graph, fork: Fork, node: str, state: JsonObject) -> None:
    problems = []
    if run.origin.branch:
        problems.append(FieldProblem("run_id", "is a branch of another run", f"fork {run.origin.parent_run_id}"))
    if node not in graph.nodes:
        over = node == END
        problem = "was at its end there" if over else f"was at node {node!r}, which this version of the agent does not have"
        problems.append(FieldProblem("node", problem, f"name a node: {', '.join(graph.nodes)}"))
    size = len(dump_json(fork.changes))
    if size > _CHANGES_CAP_BYTES:
        problems.append(FieldProblem("state", f"has {size} bytes; the limit is {_CHANGES_CAP_BYTES}", "send a reference to the data"))
    changed: JsonObject = {name: value for name, value in fork.changes.items() if value is not None}
    fields = state if fork.latest else changed
    problems += [
        FieldProblem(f"state.{path}", problem, "see the state schema of the agent") for path, problem in graph.delta_problems(fields)
    ]
    if problems:
        raise InvalidInput(problems=problems)
