"""Feedback: what happened in production, and how good it was."""

from collections.abc import Sequence
from datetime import datetime

from plimsoll.common.v1 import failure_pb2
from plimsoll.feedback.v1 import operation_pb2
from plimsoll.gateway.v1 import feedback_pb2 as pb
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import traces_pb2
from plimsoll_runtime.failures import Category
from plimsoll_runtime.wire import timestamp_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.observations import (
    category_to_proto,
    draft_to_proto,
    failure_count_from_proto,
    operation_from_proto,
    result_from_proto,
    signal_from_proto,
    signal_to_proto,
)
from plimsoll_client.observations import FailureReport, Operation, OperationKind, Signal, SignalDraft, SignalRefusal, SignalValue

_AT_ONCE = 500  # what the mesh takes in one call


class Feedback:
    """Operations, failures by category, and signals."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def operations(
        self,
        *,
        run_id: str = "",
        agent: str = "",
        kind: OperationKind | None = None,
        category: Category | None = None,
        failed_only: bool = False,
        limit: int = 100,
    ) -> list[Operation]:
        """In order of time within a run; newest first across runs."""
        wanted = operation_pb2.OperationKind.Value(f"OPERATION_KIND_{kind.name if kind else 'UNSPECIFIED'}")
        label = category_to_proto(category) if category else failure_pb2.FAILURE_CATEGORY_UNSPECIFIED

        async def page(size: int, token: str) -> pb.ListOperationsResponse:
            request = pb.ListOperationsRequest(
                run_id=run_id,
                agent=agent,
                kind=wanted,
                category=label,
                failed_only=failed_only,
                page_size=size,
                page_token=token,
            )
            return await self._calls.repeatable(self._stub.ListOperations, request)

        return [operation_from_proto(message) for message in await every(page, lambda answer: answer.operations, limit=limit)]

    async def failures(self, *, agent: str = "", after: datetime | None = None, before: datetime | None = None) -> FailureReport:
        """Failures by category in a window; the last 24 hours when none is given."""
        request = pb.CountFailuresRequest(
            agent=agent,
            after_time=None if after is None else timestamp_to_proto(after),
            before_time=None if before is None else timestamp_to_proto(before),
        )
        answer = await self._calls.repeatable(self._stub.CountFailures, request)
        return FailureReport(counts=tuple(failure_count_from_proto(message) for message in answer.counts), operations=answer.operations)

    async def signal(self, run_id: str, value: SignalValue, *, operation_id: str = "", comment: str = "", key: str = "") -> Signal:
        """Record how good a run was, or one operation of it. Repeated by itself only with a `key` of your own."""
        request = pb.RecordSignalRequest(run_id=run_id, signal=signal_to_proto(run_id, operation_id, value, comment), idempotency_key=key)
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.RecordSignal, request)
        return signal_from_proto(answer.signal)

    async def record(self, drafts: Sequence[SignalDraft]) -> list[Signal | SignalRefusal]:
        """Record many signals, each by itself; one answer for each, in order. Repeated by itself only when each has a `key`."""
        told: list[Signal | SignalRefusal] = []
        call = self._calls.repeatable if all(draft.key for draft in drafts) else self._calls.once
        for start in range(0, len(drafts), _AT_ONCE):
            request = traces_pb2.RecordSignalsRequest(entries=map(draft_to_proto, drafts[start : start + _AT_ONCE]))
            told += map(result_from_proto, (await call(self._stub.RecordSignals, request)).results)
        return told

    async def signals(self, run_id: str, *, limit: int = 100) -> list[Signal]:
        """Those of a run."""

        async def page(size: int, token: str) -> pb.ListSignalsResponse:
            request = pb.ListSignalsRequest(run_id=run_id, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListSignals, request)

        return [signal_from_proto(message) for message in await every(page, lambda answer: answer.signals, limit=limit)]
