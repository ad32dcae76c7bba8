"""Errors on the wire: PlimsollError ↔ google.rpc.Status with ErrorInfo, BadRequest and RetryInfo."""

from collections.abc import Iterable, Sequence
from typing import cast

import grpc
from google.protobuf.message import DecodeError
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
_KINDS_BY_NUMBER: dict[int, ErrorKind] = {code.value[0]: kind for code, kind in _KINDS.items()}

# A status travels in the trailers, of which a client takes 8 KiB: the message as text, at worst in three bytes for one, and again
# with all the rest in base64. What is longer would reach the client as RESOURCE_EXHAUSTED of the transport, without our reason.
_STATUS_BYTES = 4000
_MESSAGE_BYTES = 500
_REMEDY_BYTES = 300
_FIELD_BYTES = 200


def known(error: BaseException) -> PlimsollError:
    """The error as one of ours: itself, the leaf of a group, or Internal without the text of an unknown one."""
    leaf = unwrap(error)
    if isinstance(leaf, PlimsollError):
        return leaf
    return DeadlineExpired() if isinstance(leaf, TimeoutError) else Internal()


def status_of(error: PlimsollError) -> status_pb2.Status:
    """The status that a client sees; what is too long for the trailers is cut, and says so."""
    status = status_pb2.Status(code=CODES[error.kind].value[0], message=_cut(error.message, _MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if error.remedy:
        info.metadata["remedy"] = _cut(error.remedy, _REMEDY_BYTES)
    if error.trace_id:
        info.metadata["trace_id"] = error.trace_id
    status.details.add().Pack(info)
    if error.retry_after_s is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_to_proto(error.retry_after_s)))
    if error.problems:
        status.details.add().Pack(_bad_request(error.problems, _STATUS_BYTES - status.ByteSize()))
    return status


def error_from_rpc(error: grpc.aio.AioRpcError, target: str) -> PlimsollError:
    """Our error behind a failed call to `target`; one of the transport's own becomes Unavailable, DeadlineExpired …"""
    packed = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())).get(STATUS_KEY)
    if packed is not None:
        try:
            return error_from_status(status_pb2.Status.FromString(packed))
        except DecodeError:  # whoever answered does not speak as we do
            pass
    return _transport_error(_KINDS.get(error.code(), ErrorKind.INTERNAL), error, target)


def error_from_status(status: status_pb2.Status) -> PlimsollError:
    """Turn a status back into the error that made it. Raises DecodeError when a detail is damaged."""
    kind = _KINDS_BY_NUMBER.get(status.code, ErrorKind.INTERNAL)
    reason, remedy, trace_id = "", "", ""
    problems: tuple[FieldProblem, ...] = ()
    retry_after_s = None
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, remedy, trace_id = info.reason, info.metadata.get("remedy", ""), info.metadata.get("trace_id", "")
        elif detail.Unpack(bad):
            problems = tuple(FieldProblem(v.field, v.description, v.localized_message.message) for v in bad.field_violations)
        elif detail.Unpack(retry):
            retry_after_s = duration_from_proto(retry.retry_delay)
    error = BY_KIND[kind](status.message, reason=reason, problems=problems, remedy=remedy, retry_after_s=retry_after_s)
    error.trace_id = trace_id
    return error


def unreachable(target: str) -> Unavailable:
    return Unavailable(f"{target} cannot be reached", reason="UNREACHABLE", retry_after_s=1.0)


def cut_off(target: str) -> Unavailable:
    return Unavailable(f"{target} cut the call off", reason="CUT_OFF", retry_after_s=1.0)


def code_name(error: PlimsollError) -> str:
    """The name of the canonical code, such as NOT_FOUND."""
    return str(code_pb2.Code.Name(CODES[error.kind].value[0]))


def _bad_request(problems: Sequence[FieldProblem], room: int) -> error_details_pb2.BadRequest:
    """As many of the problems as there is room for, in their order; the last then says how many are left out."""
    shown = error_details_pb2.BadRequest()
    size = _FIELD_BYTES  # for that last one, and for what Any wraps around it all
    for index, problem in enumerate(problems):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(problem.field, _FIELD_BYTES),
            description=_cut(problem.problem, _MESSAGE_BYTES),
            localized_message=error_details_pb2.LocalizedMessage(locale="en", message=_cut(problem.remedy, _REMEDY_BYTES)),
        )
        size += violation.ByteSize() + 4
        if size > room:
            shown.field_violations.add(field="…", description=f"and {len(problems) - index} more")
            break
        shown.field_violations.append(violation)
    return shown


def _cut(text: str, most_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    return encoded[: most_bytes - 3].decode(errors="ignore") + "…" if len(encoded) > most_bytes else encoded.decode()


def _transport_error(kind: ErrorKind, error: grpc.aio.AioRpcError, target: str) -> PlimsollError:
    match kind:
        case ErrorKind.UNAVAILABLE:
            return unreachable(target)
        case ErrorKind.CANCELLED:  # by the peer, as it does when it ends: who cancels a call of its own gets CancelledError instead
            return cut_off(target)
        case ErrorKind.TIMEOUT:
            return DeadlineExpired(f"{target} did not answer in time")
        case ErrorKind.INTERNAL:
            return Internal(f"{target} failed: {error.code().name}", reason="PEER_FAILED")
        case _:
            return BY_KIND[kind](f"{target}: {error.details()}")
