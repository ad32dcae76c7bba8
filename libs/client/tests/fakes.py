# ruff: noqa: N802 - gRPC names the methods
"""A gateway in memory that keeps the contract's promises: keys, idempotency, journals without gaps, decisions that count once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from client_control import FakeControl
from client_knowledge import FakeKnowledge
from client_learning import FakeLearning
from client_registry import FakeRegistry
from client_toolbox import FakeToolbox
from grpc_status import rpc_status
from plimsoll.gateway.v1 import agents_pb2, approvals_pb2, feedback_pb2, models_pb2, runs_pb2, tools_pb2
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import agent_pb2, orchestrator_service_pb2, run_events_pb2, run_pb2
from plimsoll_runtime.errors import Conflict, FieldProblem, Invalid, NotFound, PlimsollError, Unauthenticated
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_object
from plimsoll_runtime.status import status_of
from plimsoll_runtime.wire import duration_to_proto, json_to_proto, timestamp_to_proto

KEY = "key-of-the-tests"
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

Context = Any


def step(node: str, kind: str = "model", *, next: str = "end", facts: JsonObject | None = None, tokens: int = 0) -> run_events_pb2.RunEvent:  # noqa: A002
    """A finished step."""
    finished = run_events_pb2.StepFinished(
        node=node,
        kind=kind,
        delta=json_to_proto({node: True}),
        next=next,
        duration=duration_to_proto(0.25),
        facts=json_to_proto(facts or {}),
    )
    finished.usage.input_tokens = tokens
    return run_events_pb2.RunEvent(step_finished=finished)


def question(approval_id: str, arguments: JsonObject, *, tool: str = "issue_refund", quorum: int = 1) -> run_events_pb2.RunEvent:
    """A run that asks for approval of one exact call."""
    approval = run_pb2.Approval(approval_id=approval_id, agent="support", node="refund", summary="Refund over the limit")
    approval.status = run_pb2.APPROVAL_STATUS_PENDING
    approval.quorum = quorum
    approval.ask_time.CopyFrom(timestamp_to_proto(AT))
    approval.proposal.tool = tool
    approval.proposal.effective_arguments.CopyFrom(json_to_proto(arguments))
    return run_events_pb2.RunEvent(approval_asked=run_events_pb2.ApprovalAsked(approval=approval))


def tokens(node: str, text: str, *, offset: int = 0, attempt: int = 1) -> run_events_pb2.RunEvent:
    """Text of a step under way."""
    told = run_events_pb2.TokensReceived(node=node, step_seq=1, attempt=attempt, offset=offset, text=text)
    return run_events_pb2.RunEvent(tokens_received=told)


def void(node: str, *, attempt: int) -> run_events_pb2.RunEvent:
    """What a step told up to this attempt does not count."""
    return run_events_pb2.RunEvent(tokens_retracted=run_events_pb2.TokensRetracted(node=node, step_seq=1, attempt=attempt))


@dataclass
class FakeRun:
    """A run that plays `script`: each entry of its journal in turn, waiting at questions.

    `provisional` is the text that is told after an entry; tokens in the script go there.
    """

    message: run_pb2.Run
    script: list[run_events_pb2.RunEvent]
    journal: list[run_events_pb2.RunEvent] = field(default_factory=list)
    provisional: dict[int, list[run_events_pb2.RunEvent]] = field(default_factory=dict)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)


class FakeGateway(FakeControl, FakeKnowledge, FakeLearning, FakeRegistry, FakeToolbox, rpc.GatewayServiceServicer):
    """`scripts` says what runs of an agent do; `refusals` fails the next calls of a method; `cuts` ends streams after so many entries."""

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self.agents: dict[str, agent_pb2.Agent] = {}
        self.scripts: dict[str, list[run_events_pb2.RunEvent]] = {}
        self.output: JsonValue = {"answer": "Done."}
        self.rehearsal = False
        self.fails = False
        self.refusals: dict[str, list[PlimsollError | grpc.StatusCode]] = {}
        self.cuts: list[int] = []
        self.calls: list[str] = []
        self.runs: dict[str, FakeRun] = {}
        self.by_key: dict[str, str] = {}
        self.approvals: dict[str, run_pb2.Approval] = {}
        self.prompts: dict[str, models_pb2.RegisterPromptRequest] = {}
        self.signals: list[feedback_pb2.RecordSignalRequest] = []

    def add_agent(self, name: str, *, script: Sequence[run_events_pb2.RunEvent] = (), accepts: agent_pb2.FileMapping | None = None) -> None:
        """Register an agent and what its runs do."""
        self.agents[name] = agent_pb2.Agent(
            name=name,
            version=1,
            digest="d" * 64,
            input_schema=json_to_proto({"type": "object"}),
            graph=json_to_proto({"agent": name}),
            accepts=accepts,
        )
        self.scripts[name] = list(script)

    async def SubmitRun(self, request: runs_pb2.SubmitRunRequest, context: Context) -> runs_pb2.SubmitRunResponse:
        await self._enter("SubmitRun", context)
        if request.idempotency_key in self.by_key:
            return runs_pb2.SubmitRunResponse(run=self.runs[self.by_key[request.idempotency_key]].message)
        if request.agent not in self.agents:
            await _abort(
                context, NotFound(f"no agent is called {request.agent}", reason="AGENT_NOT_FOUND", remedy="See `plimsoll agents list`")
            )
        under_way = [run for run in self.runs.values() if run.message.options.thread_id == request.options.thread_id and not _is_final(run)]
        if request.options.thread_policy == run_pb2.THREAD_POLICY_STEER and under_way:
            return runs_pb2.SubmitRunResponse(run=under_way[0].message, steered=True)
        run = run_pb2.Run(agent=request.agent, input=request.input, options=request.options if request.HasField("options") else None)
        await self._begin(run)
        if request.idempotency_key:
            self.by_key[request.idempotency_key] = run.run_id
        return runs_pb2.SubmitRunResponse(run=run, created=True)

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.GetRunResponse:
        await self._enter("GetRun", context)
        return runs_pb2.GetRunResponse(run=(await self._run(request.run_id, context)).message)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        await self._enter("ListRuns", context)
        wanted = [run.message for run in reversed(self.runs.values()) if _is_wanted(run.message, request)]
        begin = int(request.page_token or 0)
        shown = wanted[begin : begin + request.page_size]
        more = begin + len(shown) < len(wanted)
        return runs_pb2.ListRunsResponse(runs=shown, next_page_token=str(begin + len(shown)) if more else "")

    async def CancelRun(self, request: runs_pb2.CancelRunRequest, context: Context) -> runs_pb2.CancelRunResponse:
        await self._enter("CancelRun", context)
        run = await self._run(request.run_id, context)
        run.message.status = run_pb2.RUN_STATUS_CANCELLED
        return runs_pb2.CancelRunResponse(run=run.message)

    async def FollowRun(self, request: runs_pb2.FollowRunRequest, context: Context) -> AsyncIterator[runs_pb2.FollowRunResponse]:
        await self._enter("FollowRun", context)
        run = await self._run(request.run_id, context)
        budget = self.cuts.pop(0) if self.cuts else 1_000_000
        async for event in self._entries(run, request):
            if budget == 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            yield runs_pb2.FollowRunResponse(event=event)
            budget -= 1

    async def _entries(self, run: FakeRun, request: runs_pb2.FollowRunRequest) -> AsyncIterator[run_events_pb2.RunEvent]:
        """The journal after the cursor; text is told anew from its beginning."""
        seen = request.after_seq
        while True:
            for told in run.provisional.get(seen, ()) if request.tokens else ():
                yield told
            async with run.grown:
                await run.grown.wait_for(lambda after=seen: len(run.journal) > after or _is_final(run))
            if len(run.journal) <= seen:
                return
            seen = run.journal[seen].seq
            yield run.journal[seen - 1]
            if run.journal[seen - 1].WhichOneof("event") == "run_finished":
                return

    async def ListApprovals(self, request: approvals_pb2.ListApprovalsRequest, context: Context) -> approvals_pb2.ListApprovalsResponse:
        await self._enter("ListApprovals", context)
        found = [a for a in self.approvals.values() if request.status in {0, a.status} and request.run_id in {"", a.run_id}]
        return approvals_pb2.ListApprovalsResponse(approvals=found)

    async def DecideApproval(self, request: approvals_pb2.DecideApprovalRequest, context: Context) -> approvals_pb2.DecideApprovalResponse:
        await self._enter("DecideApproval", context)
        approval = self.approvals[request.approval_id]
        approved = request.decision == orchestrator_service_pb2.DECISION_APPROVE
        status = run_pb2.APPROVAL_STATUS_APPROVED if approved else run_pb2.APPROVAL_STATUS_REJECTED
        if approval.status not in {run_pb2.APPROVAL_STATUS_PENDING, status}:
            await _abort(context, Conflict("somebody decided otherwise", reason="ALREADY_DECIDED"))
        if approval.status == run_pb2.APPROVAL_STATUS_PENDING:
            run = self.runs[approval.run_id]
            if approved:
                approval.approved_by.append(f"person {len(approval.approved_by) + 1}")
            if approved and len(approval.approved_by) < approval.quorum:
                return approvals_pb2.DecideApprovalResponse(approval=approval)
            approval.status, approval.comment = status, request.comment
            decided = run_events_pb2.ApprovalDecided(approval_id=approval.approval_id, node=approval.node, status=status, decided_by="key")
            run.script.insert(0, run_events_pb2.RunEvent(approval_decided=decided))
            await self._play(run)
        return approvals_pb2.DecideApprovalResponse(approval=approval)

    async def RegisterAgent(self, request: agents_pb2.RegisterAgentRequest, context: Context) -> agents_pb2.RegisterAgentResponse:
        await self._enter("RegisterAgent", context)
        name = next((line.removeprefix("agent:").strip() for line in request.source.splitlines() if line.startswith("agent:")), "")
        if name == "broken":
            problems = (
                FieldProblem("agent.yaml:3 nodes.a.next", "names no node", "name one"),
                FieldProblem("agent.yaml:1 start", "is missing", "add it"),
            )
            await _abort(context, Invalid(problems=problems, reason="INVALID_GRAPH"))
        created = name not in self.agents
        if created:
            self.add_agent(name)
        return agents_pb2.RegisterAgentResponse(agent=self.agents[name], created=created)

    async def GetAgent(self, request: agents_pb2.GetAgentRequest, context: Context) -> agents_pb2.GetAgentResponse:
        await self._enter("GetAgent", context)
        if request.name not in self.agents:
            await _abort(
                context, NotFound(f"no agent is called {request.name}", reason="AGENT_NOT_FOUND", remedy="See `plimsoll agents list`")
            )
        return agents_pb2.GetAgentResponse(agent=self.agents[request.name])

    async def ListAgents(self, request: agents_pb2.ListAgentsRequest, context: Context) -> agents_pb2.ListAgentsResponse:
        await self._enter("ListAgents", context)
        return agents_pb2.ListAgentsResponse(agents=self.agents.values())

    async def ListTools(self, request: tools_pb2.ListToolsRequest, context: Context) -> tools_pb2.ListToolsResponse:
        await self._enter("ListTools", context)
        return tools_pb2.ListToolsResponse()

    async def GetTool(self, request: tools_pb2.GetToolRequest, context: Context) -> tools_pb2.GetToolResponse:
        await self._enter("GetTool", context)
        return tools_pb2.GetToolResponse()

    async def RegisterPrompt(self, request: models_pb2.RegisterPromptRequest, context: Context) -> models_pb2.RegisterPromptResponse:
        await self._enter("RegisterPrompt", context)
        created = self.prompts.get(request.prompt.name) != request
        self.prompts[request.prompt.name] = request
        return models_pb2.RegisterPromptResponse(prompt=request.prompt, created=created)

    async def GetPrompt(self, request: models_pb2.GetPromptRequest, context: Context) -> models_pb2.GetPromptResponse:
        await self._enter("GetPrompt", context)
        return models_pb2.GetPromptResponse(prompt=self.prompts[request.name].prompt)

    async def ListPrompts(self, request: models_pb2.ListPromptsRequest, context: Context) -> models_pb2.ListPromptsResponse:
        await self._enter("ListPrompts", context)
        return models_pb2.ListPromptsResponse(prompts=[kept.prompt for kept in self.prompts.values()])

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Context) -> models_pb2.ListModelsResponse:
        await self._enter("ListModels", context)
        return models_pb2.ListModelsResponse()

    async def ListOperations(self, request: feedback_pb2.ListOperationsRequest, context: Context) -> feedback_pb2.ListOperationsResponse:
        await self._enter("ListOperations", context)
        return feedback_pb2.ListOperationsResponse()

    async def CountFailures(self, request: feedback_pb2.CountFailuresRequest, context: Context) -> feedback_pb2.CountFailuresResponse:
        await self._enter("CountFailures", context)
        return feedback_pb2.CountFailuresResponse(operations=7)

    async def RecordSignal(self, request: feedback_pb2.RecordSignalRequest, context: Context) -> feedback_pb2.RecordSignalResponse:
        await self._enter("RecordSignal", context)
        self.signals.append(request)
        recorded = request.signal
        recorded.signal_id = f"sig_{len(self.signals)}"
        return feedback_pb2.RecordSignalResponse(signal=recorded)

    async def ListSignals(self, request: feedback_pb2.ListSignalsRequest, context: Context) -> feedback_pb2.ListSignalsResponse:
        await self._enter("ListSignals", context)
        return feedback_pb2.ListSignalsResponse(signals=[kept.signal for kept in self.signals if kept.run_id == request.run_id])

    async def _enter(self, method: str, context: Context) -> None:
        """Count the call, check the key, and refuse as told."""
        self.calls.append(method)
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {KEY}":
            await _abort(context, Unauthenticated("no key is like this one", reason="KEY_UNKNOWN", remedy="Set PLIMSOLL_API_KEY"))
        if waiting := self.refusals.get(method):
            match waiting.pop(0):
                case PlimsollError() as error:
                    await _abort(context, error)
                case code:
                    await context.abort(code, "refused")

    async def _run(self, run_id: str, context: Context) -> FakeRun:
        if run_id not in self.runs:
            await _abort(context, NotFound(f"no run is called {run_id}", reason="RUN_NOT_FOUND", remedy="See `plimsoll runs list`"))
        return self.runs[run_id]

    async def _refuse(self, context: Context, error: PlimsollError) -> None:
        await _abort(context, error)

    async def _begin(self, run: run_pb2.Run) -> None:
        """Take a run in and play what its agent's script says."""
        run.run_id, run.status = f"run_{len(self.runs) + 1}", run_pb2.RUN_STATUS_RUNNING
        run.create_time.CopyFrom(timestamp_to_proto(AT))
        started = run_events_pb2.RunStarted(input=run.input, options=run.options, origin=run.origin if run.HasField("origin") else None)
        self.runs[run.run_id] = FakeRun(run, [run_events_pb2.RunEvent(run_started=started), *self.scripts[run.agent]])
        await self._play(self.runs[run.run_id])

    async def _play(self, run: FakeRun) -> None:
        """Write the journal up to the next question, or to the end."""
        asks = False
        while run.script and not asks:
            event = run_events_pb2.RunEvent()
            event.CopyFrom(run.script.pop(0))
            if (event.WhichOneof("event") or "").startswith("tokens_"):
                event.run_id, event.seq = run.message.run_id, len(run.journal)
                run.provisional.setdefault(event.seq, []).append(event)
                continue
            asks = event.WhichOneof("event") == "approval_asked"
            if asks:
                event.approval_asked.approval.run_id = run.message.run_id
                self.approvals[event.approval_asked.approval.approval_id] = event.approval_asked.approval
            await self._write(run, event)
        if not asks:
            await self._write(run, self._end(run))

    def _end(self, run: FakeRun) -> run_events_pb2.RunEvent:
        status = run_pb2.RUN_STATUS_FAILED if self.fails else run_pb2.RUN_STATUS_SUCCEEDED
        run.message.status, run.message.steps, run.message.rehearsal = status, len(run.journal) - 1, self.rehearsal
        run.message.finish_time.CopyFrom(timestamp_to_proto(AT.replace(second=2)))
        if self.fails:
            run.message.failure.reason, run.message.failure.message = "UPSTREAM_503", "the shop is closed"
        else:
            run.message.output.CopyFrom(json_to_proto(self.output))
        return run_events_pb2.RunEvent(run_finished=run_events_pb2.RunFinished(status=status))

    async def _write(self, run: FakeRun, event: run_events_pb2.RunEvent) -> None:
        event.run_id, event.seq = run.message.run_id, len(run.journal) + 1
        event.time.CopyFrom(timestamp_to_proto(AT))
        run.journal.append(event)
        run.message.seq = event.seq
        async with run.grown:
            run.grown.notify_all()


def input_of(run: FakeRun) -> JsonObject:
    """What a run was given."""
    return parse_object(run.message.input.text)


def _is_wanted(run: run_pb2.Run, request: runs_pb2.ListRunsRequest) -> bool:
    return (
        request.status in {0, run.status}
        and request.thread_id in {"", run.options.thread_id}
        and request.parent_run_id == run.origin.parent_run_id
    )


def _is_final(run: FakeRun) -> bool:
    return run.message.status in {run_pb2.RUN_STATUS_SUCCEEDED, run_pb2.RUN_STATUS_FAILED, run_pb2.RUN_STATUS_CANCELLED}


async def _abort(context: Context, error: PlimsollError) -> None:
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
