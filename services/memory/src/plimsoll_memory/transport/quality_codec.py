"""Between the wire and the domain: query sets, evaluations, and what watching finds."""

from collections.abc import Sequence

from plimsoll.memory.v1 import memory_events_pb2, quality_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.wire import object_from_proto, timestamp_to_proto

from plimsoll_memory.domain.measures import Comparison, Measure
from plimsoll_memory.domain.quality import Drift, QualityWindow
from plimsoll_memory.domain.query_set import Judgement, LabelledQuery, QuerySet, QuerySetSummary
from plimsoll_memory.service.evaluating import Evaluation, Order, Outcome
from plimsoll_memory.service.watching import Use, UseReport
from plimsoll_memory.transport.codec import configuration_from_proto

QUALITY_MEASURED = "plimsoll.v1.memory.quality.measured"
QUALITY_DRIFTED = "plimsoll.v1.memory.quality.drifted"


def query_set_from_proto(message: quality_pb2.QuerySet) -> QuerySet:
    """Raises Invalid when a filter is not a JSON object."""
    return QuerySet(
        name=message.name,
        collection=message.collection,
        queries=tuple(
            LabelledQuery(
                query_id=one.query_id,
                query=one.query,
                filter=object_from_proto(one.filter, f"queries[{at}].filter"),
                judgements=tuple(
                    Judgement(source=judged.source, grade=judged.grade, start=judged.span_start, end=judged.span_end)
                    for judged in one.judgements
                ),
            )
            for at, one in enumerate(message.queries)
        ),
    )


def query_sets_to_proto(summaries: Sequence[QuerySetSummary]) -> pb.ListQuerySetsResponse:
    return pb.ListQuerySetsResponse(query_sets=map(summary_to_proto, summaries))


def summary_to_proto(summary: QuerySetSummary) -> quality_pb2.QuerySetSummary:
    return quality_pb2.QuerySetSummary(
        name=summary.name,
        collection=summary.collection,
        queries=summary.queries,
        judgements=summary.judgements,
        digest=summary.digest,
        update_time=timestamp_to_proto(summary.updated_at),
    )


def order_from_proto(request: pb.EvaluateRequest) -> Order:
    """Raises Invalid when a filter is not a JSON object."""
    return Order(
        name=request.name,
        query_set=query_set_from_proto(request.query_set) if request.HasField("query_set") else None,
        collection=request.collection,
        ks=tuple(request.ks),
        configuration=configuration_from_proto(request.configuration),
        baseline=configuration_from_proto(request.baseline) if request.HasField("baseline") else None,
    )


def evaluation_to_proto(evaluation: Evaluation) -> pb.EvaluateResponse:
    return pb.EvaluateResponse(
        evaluation=quality_pb2.Evaluation(
            query_set_digest=evaluation.digest,
            collection=evaluation.collection,
            configuration=evaluation.configuration,
            embedder=evaluation.embedder,
            reranker=evaluation.reranker,
            queries=evaluation.queries,
            measures=map(_measure_to_proto, evaluation.measures),
            comparisons=map(_comparison_to_proto, evaluation.comparisons),
            worst=map(_outcome_to_proto, evaluation.worst),
            left_out=evaluation.left_out,
        )
    )


def quality_to_proto(windows: Sequence[QualityWindow], drifts: Sequence[Drift]) -> pb.GetQualityResponse:
    return pb.GetQualityResponse(windows=map(_window_to_proto, windows), drifts=map(_drift_to_proto, drifts))


def report_from_proto(request: pb.ReportUseRequest) -> UseReport:
    return UseReport(search_id=request.search_id, run_id=request.run_id, chunk_ids=frozenset(request.chunk_ids), answer=request.answer)


def use_to_proto(use: Use) -> pb.ReportUseResponse:
    return pb.ReportUseResponse(passages=use.passages, used=use.used)


def quality_measured(event_id: str, tenant: str, window: QualityWindow) -> OutboxEvent:
    """The event as it is published."""
    message = memory_events_pb2.QualityMeasured(event_id=event_id, tenant=tenant, window=_window_to_proto(window))
    return OutboxEvent(event_id=event_id, subject=QUALITY_MEASURED, tenant=tenant, payload=message.SerializeToString())


def quality_drifted(event_id: str, tenant: str, drift: Drift, *, over: bool) -> OutboxEvent:
    """The event as it is published."""
    message = memory_events_pb2.QualityDrifted(event_id=event_id, tenant=tenant, drift=_drift_to_proto(drift), over=over)
    return OutboxEvent(event_id=event_id, subject=QUALITY_DRIFTED, tenant=tenant, payload=message.SerializeToString())


def _measure_to_proto(measure: Measure) -> quality_pb2.Measure:
    return quality_pb2.Measure(name=measure.name, k=measure.k, value=measure.value, low=measure.low, high=measure.high)


def _comparison_to_proto(comparison: Comparison) -> quality_pb2.Comparison:
    return quality_pb2.Comparison(
        name=comparison.name,
        k=comparison.k,
        value=comparison.value,
        baseline=comparison.baseline,
        difference=comparison.difference,
        low=comparison.low,
        high=comparison.high,
        wins=comparison.wins,
        losses=comparison.losses,
        ties=comparison.ties,
        verdict=comparison.verdict,
    )


def _outcome_to_proto(outcome: Outcome) -> quality_pb2.QueryOutcome:
    return quality_pb2.QueryOutcome(query_id=outcome.query_id, ndcg=outcome.ndcg, recall=outcome.recall, first_rank=outcome.first_rank)


def _window_to_proto(window: QualityWindow) -> quality_pb2.QualityWindow:
    return quality_pb2.QualityWindow(
        collection=window.collection,
        start_time=timestamp_to_proto(window.start),
        end_time=timestamp_to_proto(window.end),
        searches=window.searches,
        empty=window.empty,
        under_returned=window.under_returned,
        failed=window.failed,
        degraded=window.degraded,
        best_similarity=window.best_similarity.value,
        best_text_score=window.best_text_score.value,
        reported=window.used.count,
        used=window.used.value,
        median_duration_s=window.median_duration_s,
    )


def _drift_to_proto(drift: Drift) -> quality_pb2.Drift:
    return quality_pb2.Drift(
        collection=drift.collection,
        signal=drift.signal,
        baseline=drift.baseline,
        value=drift.value,
        sigmas=drift.sigmas,
        searches=drift.searches,
        start_time=timestamp_to_proto(drift.start),
    )
