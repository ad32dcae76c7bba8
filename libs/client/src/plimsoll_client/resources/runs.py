"""Runs: start, look, follow and wait; pause, signal, fork and the like; ask what one waits for."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from plimsoll.gateway.v1 import control_pb2
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import runs_pb2 as pb
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_runtime.errors import DeadlineExpired, ErrorKind, PlimsollError, Unavailable
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.wire import duration_to_proto, json_from_proto, json_to_proto

from plimsoll_client.backoff import Backoff
from plimsoll_client.calls import CALL_S, Calls, every
from plimsoll_client.codec.events import event_from_proto
from plimsoll_client.codec.options import options_to_proto
from plimsoll_client.codec.runs import obstacle_from_proto, run_from_proto
from plimsoll_client.errors import BrokenStream
from plimsoll_client.events import Polled, RunEvent, RunFinished, TokensReceived, TokensRetracted
from plimsoll_client.models import Obstacle, Queried, Run, RunStatus, Started
from plimsoll_client.options import AS_IT_IS, USUAL, Fork, RunOptions
from plimsoll_client.tokens import Provisional

STREAM_S = 600.0
"""How long one stream may last; following goes on with another."""

_RESUME = Backoff(tries=10, first_s=0.2, cap_s=5.0)
"""Tries without a single new entry in between: about half a minute."""


class Runs:
    """Executions of agents."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def submit(self, agent: str, input: JsonObject, *, key: str = "", options: RunOptions = USUAL) -> Run:  # noqa: A002 - the contract's own word
        """Start a run; when this returns it is durable. With a `key` of your own a repeat returns the same run, so only then do we repeat."""
        return (await self.start(agent, input, key=key, options=options)).run

    async def start(self, agent: str, input: JsonObject, *, key: str = "", options: RunOptions = USUAL) -> Started:  # noqa: A002 - as above
        """The same, and whether a new run came of it: a key names one that is there already, a thread may steer the one under way."""
        request = pb.SubmitRunRequest(agent=agent, input=json_to_proto(input), idempotency_key=key, options=options_to_proto(options))
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.SubmitRun, request)
        return Started(run=run_from_proto(answer.run), created=answer.created, steered=answer.steered)

    async def get(self, run_id: str) -> Run:
        """The run with its state."""
        answer = await self._calls.repeatable(self._stub.GetRun, pb.GetRunRequest(run_id=run_id))
        return run_from_proto(answer.run)

    async def list(
        self, *, agent: str = "", status: RunStatus | None = None, thread_id: str = "", parent_run_id: str = "", limit: int = 50
    ) -> list[Run]:
        """Newest first, without state. Runs that runs started are listed by their `parent_run_id` only."""
        wanted = run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name if status else 'UNSPECIFIED'}")

        async def page(size: int, token: str) -> pb.ListRunsResponse:
            request = pb.ListRunsRequest(
                agent=agent, status=wanted, thread_id=thread_id, parent_run_id=parent_run_id, page_size=size, page_token=token
            )
            return await self._calls.repeatable(self._stub.ListRuns, request)

        return [run_from_proto(message) for message in await every(page, lambda answer: answer.runs, limit=limit)]

    async def cancel(self, run_id: str, *, reason: str = "") -> Run:
        """Cancel it; what it has in flight is told to stop."""
        answer = await self._calls.repeatable(self._stub.CancelRun, pb.CancelRunRequest(run_id=run_id, reason=reason))
        return run_from_proto(answer.run)

    async def pause(self, run_id: str, *, reason: str = "") -> Run:
        """Stop it where it is; what it has in flight is told to stop, and done again under the same keys when it goes on."""
        answer = await self._calls.repeatable(self._stub.PauseRun, control_pb2.PauseRunRequest(run_id=run_id, reason=reason))
        return run_from_proto(answer.run)

    async def resume(self, run_id: str) -> Run:
        """Let a paused or quarantined run go on."""
        answer = await self._calls.repeatable(self._stub.ResumeRun, control_pb2.ResumeRunRequest(run_id=run_id))
        return run_from_proto(answer.run)

    async def signal(self, run_id: str, name: str, payload: JsonValue = None, *, key: str = "") -> str:
        """Send a signal, kept until the run waits for it; its id. Repeated by itself only with a `key` of your own."""
        request = control_pb2.SignalRunRequest(run_id=run_id, name=name, payload=json_to_proto(payload), idempotency_key=key)
        return (await (self._calls.repeatable if key else self._calls.once)(self._stub.SignalRun, request)).signal_id

    async def fork(self, run_id: str, fork: Fork = AS_IT_IS, *, key: str = "", options: RunOptions = USUAL) -> Started:
        """Start a new run from a position of this one's journal. Repeated by itself only with a `key` of your own."""
        request = control_pb2.ForkRunRequest(
            run_id=run_id,
            seq=fork.seq,
            state=json_to_proto(fork.state) if fork.state else None,
            node=fork.node,
            latest=fork.latest,
            idempotency_key=key,
            options=options_to_proto(options),
        )
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.ForkRun, request)
        return Started(run=run_from_proto(answer.run), created=answer.created)

    async def retry(self, run_id: str, *, latest: bool = False, key: str = "") -> Started:
        """Start a new run from the step at which this one failed. Repeated by itself only with a `key` of your own."""
        request = control_pb2.RetryRunRequest(run_id=run_id, latest=latest, idempotency_key=key)
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.RetryRun, request)
        return Started(run=run_from_proto(answer.run), created=answer.created)

    async def explain(self, run_id: str) -> Sequence[Obstacle]:
        """What it waits for, and what would end the waiting."""
        answer = await self._calls.repeatable(self._stub.ExplainRun, control_pb2.ExplainRunRequest(run_id=run_id))
        return [obstacle_from_proto(message) for message in answer.obstacles]

    async def query(self, run_id: str, expression: str) -> Queried:
        """The value of a CEL expression over the run as it is now: `state`, `input`, and `run` with its status, node, steps, seq and usage."""
        request = control_pb2.QueryRunRequest(run_id=run_id, expression=expression)
        answer = await self._calls.repeatable(self._stub.QueryRun, request)
        return Queried(value=json_from_proto(answer.value, "value"), seq=answer.seq)

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> Run:
        """Wait until the run is final and return it, state and output included. Raises DeadlineExpired after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.follow(run_id)) as entries:
                async for _ in entries:
                    pass
        except TimeoutError as error:
            raise DeadlineExpired(f"run {run_id} is not final after {timeout_s:g} s") from error
        return await self.get(run_id)

    async def follow(self, run_id: str, *, after_seq: int = 0, tokens: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Every entry of the journal after `after_seq`, in order and once each, until the last one.

        With `tokens`, also TokensReceived and TokensRetracted while steps are under way: every character once, and none that is void
        without its retraction, also where the stream was cut between the two.
        A stream that is cut is resumed where it was. Leave early inside `contextlib.aclosing`, so that it ends at once.
        """
        seen, tried, told = after_seq, 0, Provisional()
        while True:
            cause: PlimsollError = Unavailable(f"the stream of run {run_id} ended early", reason="STREAM_CUT")
            try:
                async with aclosing(self._entries(run_id, seen, told, tokens=tokens)) as entries:
                    async for entry in entries:
                        seen, tried = max(seen, entry.seq), 0
                        yield entry
                        if isinstance(entry.event, RunFinished):
                            return
                if await self._was_last(run_id, seen):
                    return
            except PlimsollError as error:
                cause = error
            if cause.kind is not ErrorKind.TIMEOUT:  # a stream whose time is up was merely idle
                tried += 1
            await self._calls.pause_after(_resumable(cause), max(tried, 1), _RESUME)

    async def poll(self, run_id: str, *, after_seq: int = 0, wait_s: float = 20.0, limit: int = 100) -> Polled:
        """The entries after `after_seq`, once there are some or `wait_s` (50 at the most) is over: for those who cannot keep a stream open."""
        request = pb.PollRunRequest(run_id=run_id, after_seq=after_seq, wait=duration_to_proto(wait_s), page_size=limit)
        answer = await self._calls.repeatable(self._stub.PollRun, request, cap_s=wait_s + CALL_S)
        return Polled(entries=tuple(map(event_from_proto, answer.events)), after_seq=answer.next_after_seq, ended=answer.ended)

    async def _entries(self, run_id: str, after_seq: int, told: Provisional, *, tokens: bool) -> AsyncGenerator[RunEvent, None]:
        """One stream: what was seen already is passed over, a gap is refused."""
        seen = after_seq
        request = pb.FollowRunRequest(run_id=run_id, after_seq=after_seq, tokens=tokens)
        async with aclosing(self._calls.stream(self._stub.FollowRun, request, cap_s=STREAM_S)) as answers:
            async for answer in answers:
                entry = event_from_proto(answer.event)
                if isinstance(entry.event, TokensReceived | TokensRetracted):
                    for said in _said(entry.event, told):
                        yield replace(entry, event=said)
                    continue
                if entry.seq <= seen:
                    continue
                if entry.seq != seen + 1:
                    raise BrokenStream(f"the stream of run {run_id} went from entry {seen} to {entry.seq}")
                for void in told.pass_on(entry.event):
                    yield replace(entry, seq=seen, event=void)
                seen = entry.seq
                yield entry

    async def _was_last(self, run_id: str, seen: int) -> bool:
        run = await self.get(run_id)
        return run.status.is_final and run.seq <= seen


def _resumable(error: PlimsollError) -> PlimsollError:
    """A stream may time out because nothing happened: that is no reason to stop following."""
    return Unavailable(error.message, reason=error.reason) if error.kind is ErrorKind.TIMEOUT else error


def _said(event: TokensReceived | TokensRetracted, told: Provisional) -> Iterator[TokensReceived | TokensRetracted]:
    yield from told.hear(event) if isinstance(event, TokensReceived) else told.retract(event)
