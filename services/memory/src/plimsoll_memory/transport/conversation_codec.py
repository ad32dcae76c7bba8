"""Between the wire and the domain: conversations."""

from plimsoll.memory.v1 import conversation_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import json_to_proto, object_from_proto, timestamp_to_proto
from plimsoll_runtime.work import work_from_proto, work_to_proto

from plimsoll_memory.domain.conversation import (
    Claim,
    Fact,
    Forgotten,
    Origin,
    Remembered,
    Remembering,
    Saying,
    Summary,
    Turn,
    Window,
)
from plimsoll_memory.errors import RequestRefused
from plimsoll_memory.service.conversations import FactPage, Reading

_MADE_BY_CALLER = "caller"
_ORIGINS = {
    conversation_pb2.ORIGIN_USER: Origin.USER,
    conversation_pb2.ORIGIN_ASSISTANT: Origin.ASSISTANT,
    conversation_pb2.ORIGIN_TOOL: Origin.TOOL,
    conversation_pb2.ORIGIN_SYSTEM: Origin.SYSTEM,
    conversation_pb2.ORIGIN_RECALLED: Origin.RECALLED,
    conversation_pb2.ORIGIN_OPERATOR: Origin.OPERATOR,
}
_TO_PROTO = {origin: number for number, origin in _ORIGINS.items()}


def remembering_from_proto(request: pb.RememberRequest) -> Remembering:
    """Raises RequestRefused for an origin that is missing or unknown, Invalid for metadata that is no JSON object."""
    return Remembering(
        thread_id=request.thread_id,
        collection=request.collection,
        key=request.key,
        sayings=tuple(Saying(origin=_origin(f"turns[{at}]", one.origin), text=one.text) for at, one in enumerate(request.turns)),
        claims=tuple(_claim(at, one) for at, one in enumerate(request.facts)),
        learn=request.learn,
        summary=_summary_from_proto(request.summary) if request.HasField("summary") else None,
        work=work_from_proto(request.work) if request.HasField("work") else None,
    )


def remembered_to_proto(remembered: Remembered) -> pb.RememberResponse:
    return pb.RememberResponse(
        turns=map(_turn_to_proto, remembered.turns),
        facts=map(_fact_to_proto, remembered.facts),
        changed=remembered.changed,
        left_out=remembered.left_out,
    )


def reading_from_proto(request: pb.ReadThreadRequest) -> Reading:
    return Reading(
        thread_id=request.thread_id,
        max_tokens=request.max_tokens,
        subjects=tuple(request.subjects),
        max_facts=request.max_facts,
        query=request.query,
    )


def window_to_proto(window: Window) -> pb.ReadThreadResponse:
    summary = window.summary
    return pb.ReadThreadResponse(
        turns=map(_turn_to_proto, window.turns),
        summary=_summary_to_proto(summary) if summary else None,
        facts=map(_fact_to_proto, window.facts),
        recalled=map(_turn_to_proto, window.recalled),
        turns_total=window.turns_total,
        tokens=window.tokens,
    )


def facts_to_proto(page: FactPage) -> pb.ListFactsResponse:
    return pb.ListFactsResponse(facts=map(_fact_to_proto, page.facts), next_page_token=page.next_token)


def forgotten_to_proto(forgotten: Forgotten) -> pb.ForgetResponse:
    return pb.ForgetResponse(turns=forgotten.turns, facts=forgotten.facts)


def _origin(field: str, number: int) -> Origin:
    for known, origin in _ORIGINS.items():
        if known == number:
            return origin
    remedy = f"say where the text comes from: {', '.join(origin.name for origin in Origin)}"
    raise RequestRefused(problems=[FieldProblem(f"{field}.origin", "is missing or unknown", remedy)])


def _claim(at: int, message: conversation_pb2.Fact) -> Claim:
    return Claim(
        subject=message.subject,
        attribute=message.attribute,
        text=message.text,
        origin=_origin(f"facts[{at}]", message.origin),
        metadata=object_from_proto(message.metadata, f"facts[{at}].metadata"),
    )


def _summary_from_proto(message: conversation_pb2.Summary) -> Summary:
    return Summary(text=message.text, through=message.through_turn, made_by=_MADE_BY_CALLER)


def _summary_to_proto(summary: Summary) -> conversation_pb2.Summary:
    return conversation_pb2.Summary(text=summary.text, through_turn=summary.through, made_by=summary.made_by)


def _turn_to_proto(turn: Turn) -> conversation_pb2.Turn:
    return conversation_pb2.Turn(
        number=turn.number,
        origin=_TO_PROTO[turn.origin],
        text=turn.text,
        work=work_to_proto(turn.work) if turn.work else None,
        create_time=timestamp_to_proto(turn.created_at),
        tokens=turn.tokens,
        cut=turn.cut,
    )


def _fact_to_proto(fact: Fact) -> conversation_pb2.Fact:
    return conversation_pb2.Fact(
        fact_id=fact.fact_id,
        subject=fact.subject,
        attribute=fact.attribute,
        text=fact.text,
        origin=_TO_PROTO[fact.origin],
        thread_id=fact.thread_id,
        turn=fact.turn,
        work=work_to_proto(fact.work) if fact.work else None,
        untrusted=fact.untrusted,
        superseded_by=fact.superseded_by,
        times=fact.times,
        create_time=timestamp_to_proto(fact.created_at),
        last_time=timestamp_to_proto(fact.last_at),
        metadata=json_to_proto(fact.metadata),
    )
