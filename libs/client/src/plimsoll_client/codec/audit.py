"""Entries of audit logs, and verdicts on them."""

from plimsoll.gateway.v1 import audit_pb2 as pb
from plimsoll_runtime.wire import json_from_proto, timestamp_from_proto

from plimsoll_client.audit import AuditedService, AuditEntry, AuditVerdict
from plimsoll_client.codec.words import word

_PREFIX = "AUDITED_SERVICE_"


def service_to_proto(service: AuditedService | None) -> "pb.AuditedService.ValueType":
    return pb.AUDITED_SERVICE_UNSPECIFIED if service is None else pb.AuditedService.Value(f"{_PREFIX}{service.name}")


def entry_from_proto(message: pb.AuditedEntry) -> AuditEntry:
    one = message.entry
    return AuditEntry(
        service=_service(message.service),
        seq=one.seq,
        at=timestamp_from_proto(one.time),
        actor=one.actor,
        action=one.action,
        subject=one.subject,
        details=json_from_proto(one.details, "details"),
        hash=one.hash,
        previous_hash=one.previous_hash,
    )


def verdict_from_proto(message: pb.AuditedVerdict) -> AuditVerdict:
    one = message.verdict
    return AuditVerdict(
        service=_service(message.service),
        intact=one.intact,
        entries=one.entries,
        head_hash=one.head_hash,
        broken_at=one.broken_at,
        problem=one.problem,
    )


def _service(number: "pb.AuditedService.ValueType") -> AuditedService:
    return word(AuditedService, pb.AuditedService.DESCRIPTOR, number, _PREFIX)
