"""The RPCs of plimsoll.feedback.v1.FeedbackService."""

from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.feedback.v1 import feedback_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.rpc_server import Context, RpcService

from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.transport.codec import (
    agent_from_proto,
    count_to_proto,
    draft_from_proto,
    filter_from_proto,
    operation_to_proto,
    page_from_proto,
    run_id_from_proto,
    signal_to_proto,
    time_from_proto,
    token_of,
)

FULL_NAME = "plimsoll.feedback.v1.FeedbackService"


class FeedbackHandler(rpc.FeedbackServiceServicer):
    """Takes requests apart, calls the verb, puts the answer together."""

    def __init__(self, service: FeedbackService) -> None:
        self._service = service

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        """In order of time within a run; newest first across runs."""
        where = filter_from_proto(request)
        query = repr(where)
        page = await self._service.list_operations(
            current_caller().tenant, where, page_from_proto(request.page_size, request.page_token, query)
        )
        return pb.ListOperationsResponse(
            operations=[operation_to_proto(operation) for operation in page.rows], next_page_token=token_of(page.next, query)
        )

    async def CountFailures(self, request: pb.CountFailuresRequest, context: Context) -> pb.CountFailuresResponse:
        """Failures by category in a window of time."""
        counts = await self._service.count_failures(
            current_caller().tenant,
            after=time_from_proto(request, "after_time"),
            before=time_from_proto(request, "before_time"),
            agent=agent_from_proto(request.agent),
        )
        return pb.CountFailuresResponse(counts=[count_to_proto(count) for count in counts.counts], operations=counts.operations)

    async def RecordSignal(self, request: pb.RecordSignalRequest, context: Context) -> pb.RecordSignalResponse:
        """Records a signal; the same key again returns what it recorded first."""
        caller = current_caller()
        draft = draft_from_proto(request.signal, asked_by=caller.principal or caller.service)
        signal = await self._service.record_signal(caller.tenant, draft, request.idempotency_key)
        return pb.RecordSignalResponse(signal=signal_to_proto(signal))

    async def ListSignals(self, request: pb.ListSignalsRequest, context: Context) -> pb.ListSignalsResponse:
        """The signals of a run, oldest first."""
        run_id = run_id_from_proto(request.run_id)
        query = f"signals of {run_id}"
        page = await self._service.list_signals(
            current_caller().tenant, run_id, page_from_proto(request.page_size, request.page_token, query)
        )
        return pb.ListSignalsResponse(signals=[signal_to_proto(signal) for signal in page.rows], next_page_token=token_of(page.next, query))


def feedback_rpcs(service: FeedbackService) -> RpcService:
    """What the server serves."""
    handler = FeedbackHandler(service)
    return RpcService(FULL_NAME, lambda server: rpc.add_FeedbackServiceServicer_to_server(handler, server))
