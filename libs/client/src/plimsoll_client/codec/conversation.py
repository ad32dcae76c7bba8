"""Turns, facts and what of a thread fits."""

from plimsoll.gateway.v1 import memory_pb2
from plimsoll.memory.v1 import conversation_pb2

from plimsoll_client.codec.words import moment
from plimsoll_client.conversation import Fact, ThreadMemory, Turn


def thread_memory_from_proto(message: memory_pb2.ReadThreadMemoryResponse) -> ThreadMemory:
    return ThreadMemory(
        turns=tuple(map(turn_from_proto, message.turns)),
        summary=message.summary.text,
        facts=tuple(map(fact_from_proto, message.facts)),
        recalled=tuple(map(turn_from_proto, message.recalled)),
        turns_total=message.turns_total,
        tokens=message.tokens,
    )


def turn_from_proto(message: conversation_pb2.Turn) -> Turn:
    return Turn(
        number=message.number,
        origin=_origin(message.origin),
        text=message.text,
        run_id=message.work.run_id,
        created_at=moment(message, "create_time", message.create_time),
    )


def fact_from_proto(message: conversation_pb2.Fact) -> Fact:
    return Fact(
        id=message.fact_id,
        subject=message.subject,
        attribute=message.attribute,
        text=message.text,
        origin=_origin(message.origin),
        thread_id=message.thread_id,
        turn=message.turn,
        run_id=message.work.run_id,
        untrusted=message.untrusted,
        superseded_by=message.superseded_by,
        times=message.times,
        created_at=moment(message, "create_time", message.create_time),
    )


def _origin(value: conversation_pb2.Origin.ValueType) -> str:
    """In lower case; a number that a newer mesh may send stays one."""
    known = conversation_pb2.Origin.values()
    return conversation_pb2.Origin.Name(value).removeprefix("ORIGIN_").lower() if value in known else str(value)
