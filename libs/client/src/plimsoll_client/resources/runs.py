"""Runs: submit, look, follow, wait, cancel."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import runs_pb2 as pb
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_runtime.errors import DeadlineExpired, ErrorKind, PlimsollError, Unavailable
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.backoff import Backoff
from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.runs import event_from_proto, run_from_proto
from plimsoll_client.errors import BrokenStream
from plimsoll_client.events import RunEvent, RunFinished
from plimsoll_client.models import Run, RunStatus

STREAM_S = 600.0
"""How long one stream may last; following goes on with another."""

_RESUME = Backoff(tries=10, first_s=0.2, cap_s=5.0)
"""Tries without a single new entry in between: about half a minute."""


class Runs:
    """Executions of agents."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def submit(self, agent: str, input: JsonObject, *, key: str = "") -> Run:  # noqa: A002 - the contract's own word
        """Start a run; when this returns it is durable. With a `key` of your own a repeat returns the same run, so only then do we repeat."""
        request = pb.SubmitRunRequest(agent=agent, input=json_to_proto(input), idempotency_key=key)
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.SubmitRun, request)
        return run_from_proto(answer.run)

    async def get(self, run_id: str) -> Run:
        """The run with its state."""
        answer = await self._calls.repeatable(self._stub.GetRun, pb.GetRunRequest(run_id=run_id))
        return run_from_proto(answer.run)

    async def list(self, *, agent: str = "", status: RunStatus | None = None, limit: int = 50) -> list[Run]:
        """Newest first, without state."""
        wanted = run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name if status else 'UNSPECIFIED'}")

        async def page(size: int, token: str) -> pb.ListRunsResponse:
            request = pb.ListRunsRequest(agent=agent, status=wanted, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListRuns, request)

        return [run_from_proto(message) for message in await every(page, lambda answer: answer.runs, limit=limit)]

    async def cancel(self, run_id: str, *, reason: str = "") -> Run:
        """Cancel it; what it has in flight is told to stop."""
        answer = await self._calls.repeatable(self._stub.CancelRun, pb.CancelRunRequest(run_id=run_id, reason=reason))
        return run_from_proto(answer.run)

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> Run:
        """Wait until the run is final and return it, state and output included. Raises DeadlineExpired after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.follow(run_id)) as entries:
                async for _ in entries:
                    pass
        except TimeoutError as error:
            raise DeadlineExpired(f"run {run_id} is not final after {timeout_s:g} s") from error
        return await self.get(run_id)

    async def follow(self, run_id: str, *, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Every entry of the journal after `after_seq`, in order and once each, until the last one.

        A stream that is cut is resumed where it was. Leave early inside `contextlib.aclosing`, so that it ends at once.
        """
        seen, tried = after_seq, 0
        while True:
            cause: PlimsollError = Unavailable(f"the stream of run {run_id} ended early", reason="STREAM_CUT")
            try:
                async with aclosing(self._entries(run_id, seen)) as entries:
                    async for entry in entries:
                        seen, tried = entry.seq, 0
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

    async def _entries(self, run_id: str, after_seq: int) -> AsyncGenerator[RunEvent, None]:
        """One stream: what was seen already is passed over, a gap is refused."""
        seen = after_seq
        request = pb.FollowRunRequest(run_id=run_id, after_seq=after_seq)
        async with aclosing(self._calls.stream(self._stub.FollowRun, request, cap_s=STREAM_S)) as answers:
            async for answer in answers:
                entry = event_from_proto(answer.event)
                if entry.seq <= seen:
                    continue
                if entry.seq != seen + 1:
                    raise BrokenStream(f"the stream of run {run_id} went from entry {seen} to {entry.seq}")
                seen = entry.seq
                yield entry

    async def _was_last(self, run_id: str, seen: int) -> bool:
        run = await self.get(run_id)
        return run.status.is_final and run.seq <= seen


def _resumable(error: PlimsollError) -> PlimsollError:
    """A stream may time out because nothing happened: that is no reason to stop following."""
    return Unavailable(error.message, reason=error.reason) if error.kind is ErrorKind.TIMEOUT else error
