"""Labelled queries and evaluations."""

from plimsoll.memory.v1 import document_pb2, quality_pb2
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.codec.words import moment
from plimsoll_client.retrieval import (
    Comparison,
    Drift,
    Evaluation,
    LabelledQuery,
    Measure,
    QualityWindow,
    QueryOutcome,
    QuerySet,
    SearchConfiguration,
)


def query_to_proto(query: LabelledQuery) -> quality_pb2.LabelledQuery:
    return quality_pb2.LabelledQuery(
        query_id=query.id,
        query=query.query,
        filter=json_to_proto(query.filter) if query.filter else None,
        judgements=[
            quality_pb2.Judgement(source=one.source, grade=one.grade, span_start=one.span[0], span_end=one.span[1])
            for one in query.judgements
        ],
    )


def configuration_to_proto(one: SearchConfiguration) -> document_pb2.SearchConfiguration:
    return document_pb2.SearchConfiguration(
        name=one.name, vector_weight=one.vector_weight, text_weight=one.text_weight, rerank=one.rerank, exact=one.exact
    )


def evaluation_from_proto(message: quality_pb2.Evaluation) -> Evaluation:
    return Evaluation(
        collection=message.collection,
        configuration=message.configuration,
        embedder=message.embedder,
        reranker=message.reranker,
        digest=message.query_set_digest,
        queries=message.queries,
        measures=tuple(Measure(name=one.name, k=one.k, value=one.value, low=one.low, high=one.high) for one in message.measures),
        comparisons=tuple(_comparison(one) for one in message.comparisons),
        worst=tuple(
            QueryOutcome(query_id=one.query_id, ndcg=one.ndcg, recall=one.recall, first_rank=one.first_rank) for one in message.worst
        ),
        left_out=tuple(message.left_out),
    )


def _comparison(message: quality_pb2.Comparison) -> Comparison:
    return Comparison(
        name=message.name,
        k=message.k,
        value=message.value,
        baseline=message.baseline,
        difference=message.difference,
        low=message.low,
        high=message.high,
        wins=message.wins,
        losses=message.losses,
        ties=message.ties,
        verdict=message.verdict,
    )


def query_set_from_proto(message: quality_pb2.QuerySetSummary) -> QuerySet:
    return QuerySet(
        name=message.name,
        collection=message.collection,
        queries=message.queries,
        judgements=message.judgements,
        digest=message.digest,
        updated_at=moment(message, "update_time", message.update_time),
    )


def window_from_proto(message: quality_pb2.QualityWindow) -> QualityWindow:
    return QualityWindow(
        started_at=moment(message, "start_time", message.start_time),
        ended_at=moment(message, "end_time", message.end_time),
        searches=message.searches,
        empty=message.empty,
        under_returned=message.under_returned,
        failed=message.failed,
        degraded=message.degraded,
        best_similarity=message.best_similarity,
        best_text_score=message.best_text_score,
        reported=message.reported,
        used=message.used,
        median_duration_s=message.median_duration_s,
    )


def drift_from_proto(message: quality_pb2.Drift) -> Drift:
    return Drift(
        signal=message.signal,
        usual=message.baseline,
        value=message.value,
        sigmas=message.sigmas,
        searches=message.searches,
        since=moment(message, "start_time", message.start_time),
    )
