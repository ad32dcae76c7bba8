"""The audit log of a service over gRPC, for the tenant of whoever asks.

    RpcServer(settings, [own_rpcs, audit_rpcs(pool)], …)

Who may ask is for the service's own table of callers to say.
"""

# ruff: noqa: N802 - the contract names the methods

import asyncpg
from plimsoll.common.v1 import audit_service_pb2 as pb
from plimsoll.common.v1 import audit_service_pb2_grpc as rpc

from plimsoll_runtime import audit
from plimsoll_runtime.audit import Anchor, entry_to_proto, verdict_to_proto
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.rpc_server import Context, RpcService

_PAGE, _PAGE_CAP = 100, 1000


class AuditHandler(rpc.AuditServiceServicer):
    """Reads the service's own chains."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Context) -> pb.ListAuditEntriesResponse:
        """Raises Invalid for a page that cannot be."""
        if not 0 <= request.page_size <= _PAGE_CAP:
            raise _wrong("page_size", f"is {request.page_size}", f"use 1 to {_PAGE_CAP}, or 0 for {_PAGE}")
        if request.before_seq < 0:
            raise _wrong("before_seq", f"is {request.before_seq}", "use the position of an entry, or 0 for the end")
        for field, text in (("action", request.action), ("subject", request.subject)):
            if "\x00" in text:
                raise _wrong(field, "holds the character U+0000", "leave it out")
        found = await audit.entries(
            self._pool,
            current_caller().tenant,
            before=request.before_seq,
            limit=request.page_size or _PAGE,
            action=request.action,
            subject=request.subject,
        )
        return pb.ListAuditEntriesResponse(entries=map(entry_to_proto, found))

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        """Recomputes the whole chain."""
        anchor = Anchor(seq=request.known_seq, hash=request.known_hash) if request.known_seq > 0 else None
        verdict = await audit.verify(self._pool, current_caller().tenant, anchor=anchor)
        return pb.VerifyAuditResponse(verdict=verdict_to_proto(verdict))


def audit_rpcs(pool: asyncpg.Pool) -> RpcService:
    """For the server, beside the service's own."""
    handler = AuditHandler(pool)
    name = pb.DESCRIPTOR.services_by_name["AuditService"].full_name
    return RpcService(name, lambda server: rpc.add_AuditServiceServicer_to_server(handler, server))


def _wrong(field: str, problem: str, remedy: str) -> Invalid:
    return Invalid(problems=(FieldProblem(field, problem, remedy),), reason="INVALID_REQUEST")
