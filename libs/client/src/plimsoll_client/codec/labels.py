"""Versions and moves of labels."""

from plimsoll.model_router.v1 import registry_pb2

from plimsoll_client.codec.words import moment, word
from plimsoll_client.labels import Entry, EntryKind, Grounds, LabelMove


def kind_to_proto(kind: EntryKind) -> "registry_pb2.EntryKind.ValueType":
    return registry_pb2.EntryKind.Value(f"ENTRY_KIND_{kind.name}")


def entry_from_proto(message: registry_pb2.Entry) -> Entry:
    return Entry(
        kind=word(EntryKind, registry_pb2.EntryKind.DESCRIPTOR, message.kind, "ENTRY_KIND_"),
        name=message.name,
        version=message.version,
        digest=message.digest,
        labels=tuple(message.labels),
        created_at=moment(message, "create_time", message.create_time),
        created_by=message.created_by,
    )


def move_from_proto(message: registry_pb2.LabelMove) -> LabelMove:
    return LabelMove(
        kind=word(EntryKind, registry_pb2.EntryKind.DESCRIPTOR, message.kind, "ENTRY_KIND_"),
        name=message.name,
        label=message.label,
        from_version=message.from_version,
        to_version=message.to_version,
        grounds=word(Grounds, registry_pb2.MoveGrounds.DESCRIPTOR, message.grounds, "MOVE_GROUNDS_"),
        report_digest=message.report_digest,
        reason=message.reason,
        moved_by=message.moved_by,
        moved_at=moment(message, "move_time", message.move_time),
    )
