"""Errors on the wire: PlimsollError ↔ google.rpc.Status with ErrorInfo, BadRequest and RetryInfo."""

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2

from plimsoll_runtime.errors import BY_KIND, DeadlineExpired, ErrorKind, FieldProblem, Internal, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.names import ERROR_DOMAIN, STATUS_KEY
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto

CODES: dict[ErrorKind, grpc.StatusCode] = {
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorKind.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}
_KINDS = {code: kind for kind, code in CODES.items()} | {
    grpc.StatusCode.ALREADY_EXISTS: ErrorKind.CONFLICT,
    grpc.StatusCode.ABORTED: ErrorKind.CONFLICT,
    grpc.StatusCode.OUT_OF_RANGE: ErrorKind.INVALID,
}
_MESSAGE_CAP = 2000  # characters: the status travels in HTTP/2 trailers, which servers limit to 8 KiB
_PROBLEMS_CAP = 20


def known(error: BaseException) -> PlimsollError:
    """The error as one of ours: itself, the leaf of a group, or Internal without the text of an unknown one."""
    leaf = unwrap(error)
    if isinstance(leaf, PlimsollError):
        return leaf
    return DeadlineExpired() if isinstance(leaf, TimeoutError) else Internal()


def status_of(error: PlimsollError) -> status_pb2.Status:
    """The status that a client sees."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if error.remedy:
        info.metadata["remedy"] = error.remedy
    details = [info]
    if error.problems:
        shown = error.problems[:_PROBLEMS_CAP]
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=p.field[:200],
                description=p.problem[:300],
                localized_message=error_details_pb2.LocalizedMessage(locale="en", message=p.remedy[:200]),
            )
            for p in shown
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_to_proto(error.retry_after_s)))
    status = status_pb2.Status(code=CODES[error.kind].value[0], message=error.message[:_MESSAGE_CAP])
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def error_from_rpc(error: grpc.aio.AioRpcError, target: str) -> PlimsollError:
    """Our error behind a failed call to `target`; one of the transport's own becomes Unavailable, DeadlineExpired …"""
    kind = _KINDS.get(error.code(), ErrorKind.INTERNAL)
    packed = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())).get(STATUS_KEY)
    if packed is None:
        return _transport_error(kind, error, target)
    return error_from_status(status_pb2.Status.FromString(packed))


def error_from_status(status: status_pb2.Status) -> PlimsollError:
    """Turn a status back into the error that made it."""
    kind = next((kind for kind, code in CODES.items() if code.value[0] == status.code), ErrorKind.INTERNAL)
    reason, remedy = "", ""
    problems: tuple[FieldProblem, ...] = ()
    retry_after_s = None
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, remedy = info.reason, info.metadata.get("remedy", "")
        elif detail.Unpack(bad):
            problems = tuple(FieldProblem(v.field, v.description, v.localized_message.message) for v in bad.field_violations)
        elif detail.Unpack(retry):
            retry_after_s = duration_from_proto(retry.retry_delay)
    return BY_KIND[kind](status.message, reason=reason, problems=problems, remedy=remedy, retry_after_s=retry_after_s)


def code_name(error: PlimsollError) -> str:
    """The name of the canonical code, such as NOT_FOUND."""
    return str(code_pb2.Code.Name(CODES[error.kind].value[0]))


def _transport_error(kind: ErrorKind, error: grpc.aio.AioRpcError, target: str) -> PlimsollError:
    match kind:
        case ErrorKind.UNAVAILABLE:
            return Unavailable(f"{target} cannot be reached", reason="UNREACHABLE", retry_after_s=1.0)
        case ErrorKind.TIMEOUT:
            return DeadlineExpired(f"{target} did not answer in time")
        case ErrorKind.INVALID | ErrorKind.EXHAUSTED | ErrorKind.CANCELLED | ErrorKind.UNAUTHENTICATED | ErrorKind.DENIED:
            return BY_KIND[kind](f"{target}: {error.details()}")
        case _:
            return Internal(f"{target} failed: {error.code().name}", reason="PEER_FAILED")
