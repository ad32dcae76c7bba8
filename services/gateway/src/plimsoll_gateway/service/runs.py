"""Runs and what clients do with them: start, follow, steer and stop them, answer their questions, look at their threads."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from plimsoll.gateway.v1 import approvals_pb2, control_pb2, runs_pb2, threads_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.wire import duration_from_proto

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import Orchestrator
from plimsoll_gateway.service.backlog import Backlog
from plimsoll_gateway.service.followers import Followers
from plimsoll_gateway.service.options import check_options

_POLL_S, _POLL_MOST_S = 20.0, 50.0
_POLL_ENTRIES, _POLL_ENTRIES_MOST = 100, 1000
_MORE_S = 0.2  # for the next entry, when there was one


class Runs:
    """Carries requests about runs of the present tenant to the orchestrator. `actor` is who asks, by the key shown."""

    def __init__(self, orchestrator: Orchestrator, followers: Followers, backlog: Backlog, clock: Clock) -> None:
        self._orchestrator = orchestrator
        self._backlog = backlog
        self._clock = clock
        self._followers = followers

    async def submit(self, request: runs_pb2.SubmitRunRequest) -> runs_pb2.SubmitRunResponse:
        """Raises InvalidOptions, QueueFull."""
        check_options(request.options, self._clock.now(), repeatable=bool(request.idempotency_key))
        self._backlog.admit(current_caller().tenant, request.options.priority)
        answer = await self._orchestrator.start_run(
            pb.StartRunRequest(
                agent=request.agent,
                input=request.input if request.HasField("input") else None,
                idempotency_key=request.idempotency_key,
                options=request.options if request.HasField("options") else None,
            )
        )
        return runs_pb2.SubmitRunResponse(run=answer.run, created=answer.created, steered=answer.steered)

    async def get(self, request: runs_pb2.GetRunRequest) -> runs_pb2.GetRunResponse:
        answer = await self._orchestrator.get_run(pb.GetRunRequest(run_id=request.run_id))
        return runs_pb2.GetRunResponse(run=answer.run)

    async def list(self, request: runs_pb2.ListRunsRequest) -> runs_pb2.ListRunsResponse:
        answer = await self._orchestrator.list_runs(
            pb.ListRunsRequest(
                agent=request.agent,
                status=request.status,
                page_size=request.page_size,
                page_token=request.page_token,
                thread_id=request.thread_id,
                parent_run_id=request.parent_run_id,
            )
        )
        return runs_pb2.ListRunsResponse(runs=answer.runs, next_page_token=answer.next_page_token)

    async def follow(self, request: runs_pb2.FollowRunRequest) -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
        """The run's journal after the cursor; ends after its last entry. Closing the generator ends the stream behind it."""
        if request.after_seq < 0:
            raise _before_the_beginning()
        if request.tokens:
            asked = pb.FollowRunRequest(run_id=request.run_id, after_seq=request.after_seq, tokens=True)
            entries = self._orchestrator.follow_run(asked)
        else:
            entries = self._followers.follow(request.run_id, request.after_seq)
        async with aclosing(entries) as answers:
            async for answer in answers:
                yield runs_pb2.FollowRunResponse(event=answer.event)
                del answer  # an idle stream keeps nothing of what it told

    async def poll(self, request: runs_pb2.PollRunRequest) -> runs_pb2.PollRunResponse:
        """Raises Invalid for a cursor, wait or page that cannot be."""
        wait_s = duration_from_proto(request.wait) if request.HasField("wait") else _POLL_S
        size = request.page_size or _POLL_ENTRIES
        if not 0 <= wait_s <= _POLL_MOST_S:
            raise wrong("wait", "is not between 0 and 50 seconds", "wait shorter, and ask again")
        if not 1 <= size <= _POLL_ENTRIES_MOST:
            raise wrong("pageSize", f"is not between 1 and {_POLL_ENTRIES_MOST}", "send 0 for 100")
        answer = runs_pb2.PollRunResponse(next_after_seq=request.after_seq)
        if request.after_seq < 0:
            raise _before_the_beginning()
        asked = pb.FollowRunRequest(run_id=request.run_id, after_seq=request.after_seq)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(wait_s, _MORE_S)) as waiting, aclosing(self._orchestrator.follow_run(asked)) as entries:
                async for entry in entries:
                    answer.events.append(entry.event)
                    answer.next_after_seq = entry.event.seq
                    if len(answer.events) == size:
                        return answer
                    waiting.reschedule(asyncio.get_running_loop().time() + _MORE_S)
                answer.ended = True
        return answer

    # control

    async def cancel(self, request: runs_pb2.CancelRunRequest, actor: str) -> runs_pb2.CancelRunResponse:
        asked = pb.CancelRunRequest(run_id=request.run_id, reason=request.reason, cancelled_by=actor)
        return runs_pb2.CancelRunResponse(run=(await self._orchestrator.cancel_run(asked)).run)

    async def pause(self, request: control_pb2.PauseRunRequest, actor: str) -> control_pb2.PauseRunResponse:
        asked = pb.PauseRunRequest(run_id=request.run_id, reason=request.reason, paused_by=actor)
        return control_pb2.PauseRunResponse(run=(await self._orchestrator.pause_run(asked)).run)

    async def resume(self, request: control_pb2.ResumeRunRequest, actor: str) -> control_pb2.ResumeRunResponse:
        asked = pb.ResumeRunRequest(run_id=request.run_id, resumed_by=actor)
        return control_pb2.ResumeRunResponse(run=(await self._orchestrator.resume_run(asked)).run)

    async def signal(self, request: control_pb2.SignalRunRequest, actor: str) -> control_pb2.SignalRunResponse:
        answer = await self._orchestrator.signal_run(
            pb.SignalRunRequest(
                run_id=request.run_id,
                name=request.name,
                payload=request.payload if request.HasField("payload") else None,
                idempotency_key=request.idempotency_key,
                sent_by=actor,
            )
        )
        return control_pb2.SignalRunResponse(signal_id=answer.signal_id)

    async def fork(self, request: control_pb2.ForkRunRequest) -> control_pb2.ForkRunResponse:
        """Raises InvalidOptions, QueueFull, and Invalid for a position that no journal has."""
        if request.seq < 0:
            raise wrong("seq", "is negative", "give the position of a journal entry; 0 means the last one")
        check_options(request.options, self._clock.now(), repeatable=bool(request.idempotency_key))
        self._backlog.admit(current_caller().tenant, request.options.priority)
        answer = await self._orchestrator.fork_run(
            pb.ForkRunRequest(
                run_id=request.run_id,
                seq=request.seq,
                state=request.state if request.HasField("state") else None,
                node=request.node,
                latest=request.latest,
                idempotency_key=request.idempotency_key,
                options=request.options if request.HasField("options") else None,
            )
        )
        return control_pb2.ForkRunResponse(run=answer.run, created=answer.created)

    async def retry(self, request: control_pb2.RetryRunRequest) -> control_pb2.RetryRunResponse:
        """Raises QueueFull."""
        self._backlog.admit(current_caller().tenant, 0)
        asked = pb.RetryRunRequest(run_id=request.run_id, latest=request.latest, idempotency_key=request.idempotency_key)
        answer = await self._orchestrator.retry_run(asked)
        return control_pb2.RetryRunResponse(run=answer.run, created=answer.created)

    async def explain(self, request: control_pb2.ExplainRunRequest) -> control_pb2.ExplainRunResponse:
        answer = await self._orchestrator.explain_run(pb.ExplainRunRequest(run_id=request.run_id))
        return control_pb2.ExplainRunResponse(obstacles=answer.obstacles)

    async def query(self, request: control_pb2.QueryRunRequest) -> control_pb2.QueryRunResponse:
        answer = await self._orchestrator.query_run(pb.QueryRunRequest(run_id=request.run_id, expression=request.expression))
        return control_pb2.QueryRunResponse(value=answer.value, seq=answer.seq)

    # threads

    async def get_thread(self, request: threads_pb2.GetThreadRequest) -> threads_pb2.GetThreadResponse:
        answer = await self._orchestrator.get_thread(pb.GetThreadRequest(thread_id=request.thread_id))
        return threads_pb2.GetThreadResponse(thread=answer.thread)

    async def list_threads(self, request: threads_pb2.ListThreadsRequest) -> threads_pb2.ListThreadsResponse:
        asked = pb.ListThreadsRequest(page_size=request.page_size, page_token=request.page_token)
        answer = await self._orchestrator.list_threads(asked)
        return threads_pb2.ListThreadsResponse(threads=answer.threads, next_page_token=answer.next_page_token)

    # approvals

    async def list_approvals(self, request: approvals_pb2.ListApprovalsRequest) -> approvals_pb2.ListApprovalsResponse:
        answer = await self._orchestrator.list_approvals(
            pb.ListApprovalsRequest(
                status=request.status, run_id=request.run_id, page_size=request.page_size, page_token=request.page_token
            )
        )
        return approvals_pb2.ListApprovalsResponse(approvals=answer.approvals, next_page_token=answer.next_page_token)

    async def decide_approval(self, request: approvals_pb2.DecideApprovalRequest, actor: str) -> approvals_pb2.DecideApprovalResponse:
        answer = await self._orchestrator.decide_approval(
            pb.DecideApprovalRequest(
                approval_id=request.approval_id,
                decision=request.decision,
                comment=request.comment,
                decided_by=actor,
                arguments=request.arguments if request.HasField("arguments") else None,
            )
        )
        return approvals_pb2.DecideApprovalResponse(approval=answer.approval)


def _before_the_beginning() -> Invalid:
    return wrong("afterSeq", "is negative", "0 means from the beginning")
