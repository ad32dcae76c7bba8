"""The RPCs of plimsoll.feedback.v1.FeedbackService."""

from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.feedback.v1 import feedback_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.rpc_server import Context, RpcService

from plimsoll_feedback.domain.operation import OperationId
from plimsoll_feedback.domain.signal import SignalEntry
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.service.bodies import OperationBodies
from plimsoll_feedback.service.traces import Annotation, Traces
from plimsoll_feedback.transport.codec import (
    agent_from_proto,
    count_to_proto,
    draft_from_proto,
    entry_or_refusal,
    filter_from_proto,
    operation_to_proto,
    page_from_proto,
    query_text,
    result_to_proto,
    run_id_from_proto,
    signal_to_proto,
    time_from_proto,
    token_of,
)
from plimsoll_feedback.transport.trace_codec import body_to_proto, entry_to_proto, trace_filter_from_proto, trace_to_proto

FULL_NAME = "plimsoll.feedback.v1.FeedbackService"


class FeedbackHandler(rpc.FeedbackServiceServicer):
    """Takes requests apart, calls the verb, puts the answer together."""

    def __init__(self, service: FeedbackService, traces: Traces, bodies: OperationBodies) -> None:
        self._service = service
        self._traces = traces
        self._bodies = bodies

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

    async def RecordSignals(self, request: pb.RecordSignalsRequest, context: Context) -> pb.RecordSignalsResponse:
        """Each signal is recorded or refused by itself."""
        caller = current_caller()
        asked_by = caller.principal or caller.service
        read = [entry_or_refusal(entry, asked_by) for entry in request.entries]
        results = iter(await self._service.record_signals(caller.tenant, [one for one in read if isinstance(one, SignalEntry)]))
        told = [next(results) if isinstance(one, SignalEntry) else one for one in read]
        return pb.RecordSignalsResponse(results=[result_to_proto(result) for result in told])

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        """Runs, newest first."""
        where = trace_filter_from_proto(request)
        query = repr(where)
        page = await self._traces.list_traces(current_caller().tenant, where, page_from_proto(request.page_size, request.page_token, query))
        return pb.ListTracesResponse(traces=[trace_to_proto(trace) for trace in page.rows], next_page_token=token_of(page.next, query))

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        """A page of the timeline of one run."""
        run_id = run_id_from_proto(request.run_id)
        query = f"trace of {run_id}"
        page, onward = await self._traces.get_trace(
            current_caller().tenant, run_id, page_from_proto(request.page_size, request.page_token, query)
        )
        return pb.GetTraceResponse(
            trace=trace_to_proto(page.trace),
            entries=[entry_to_proto(entry) for entry in page.entries],
            children=[trace_to_proto(child) for child in page.children],
            next_page_token=token_of(onward, query),
        )

    async def AnnotateRun(self, request: pb.AnnotateRunRequest, context: Context) -> pb.AnnotateRunResponse:
        """Changes the tags and records the comment."""
        caller = current_caller()
        note = Annotation(
            run_id=run_id_from_proto(request.run_id),
            add_tags=request.add_tags,
            remove_tags=request.remove_tags,
            comment=request.comment,
            source=caller.principal or caller.service,
        )
        return pb.AnnotateRunResponse(trace=trace_to_proto(await self._traces.annotate(caller.tenant, note)))

    async def GetOperationBody(self, request: pb.GetOperationBodyRequest, context: Context) -> pb.GetOperationBodyResponse:
        """Asks whoever keeps it."""
        run_id, operation_id = run_id_from_proto(request.run_id), OperationId(query_text(request.operation_id, "operation_id"))
        body = await self._bodies.get_body(current_caller().tenant, run_id, operation_id)
        return pb.GetOperationBodyResponse(body=body_to_proto(body))


def feedback_rpcs(service: FeedbackService, traces: Traces, bodies: OperationBodies) -> RpcService:
    """What the server serves."""
    handler = FeedbackHandler(service, traces, bodies)
    return RpcService(FULL_NAME, lambda server: rpc.add_FeedbackServiceServicer_to_server(handler, server))
