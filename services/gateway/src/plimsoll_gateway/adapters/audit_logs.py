"""The audit logs of the services, each for the present tenant: the gateway's own in Postgres, those of others over gRPC."""

from collections.abc import Sequence

import asyncpg
import grpc
from plimsoll.common.v1 import audit_pb2
from plimsoll.common.v1 import audit_service_pb2 as pb
from plimsoll.common.v1 import audit_service_pb2_grpc as rpc
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as dispatcher_rpc
from plimsoll_runtime import audit
from plimsoll_runtime.audit import Anchor, entry_to_proto, verdict_to_proto
from plimsoll_runtime.context import current_caller

from plimsoll_gateway.adapters.peer import READ_S, VERIFY_S, Peer

_NOTHING = Anchor(seq=0, hash="")


class OwnAuditLog:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def entries(self, before: int, limit: int, action: str, subject: str) -> Sequence[audit_pb2.AuditEntry]:
        tenant = current_caller().tenant
        found = await audit.entries(self._pool, tenant, before=before, limit=limit, action=action, subject=subject)
        return [entry_to_proto(one) for one in found]

    async def verify(self, known: Anchor | None) -> audit_pb2.AuditVerdict:
        return verdict_to_proto(await audit.verify(self._pool, current_caller().tenant, anchor=known))


class GrpcAuditLog:
    """Of a service that serves `plimsoll.common.v1.AuditService`."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._stub = rpc.AuditServiceStub(channel)
        self._peer = Peer(name)

    async def entries(self, before: int, limit: int, action: str, subject: str) -> Sequence[audit_pb2.AuditEntry]:
        request = pb.ListAuditEntriesRequest(page_size=limit, before_seq=before, action=action, subject=subject)
        return (await self._peer.call(self._stub.ListAuditEntries, request, READ_S)).entries

    async def verify(self, known: Anchor | None) -> audit_pb2.AuditVerdict:
        told = known or _NOTHING
        request = pb.VerifyAuditRequest(known_seq=told.seq, known_hash=told.hash)
        return (await self._peer.call(self._stub.VerifyAudit, request, VERIFY_S)).verdict


class DispatcherAuditLog:
    """Of the tool dispatcher, which has methods of its own for it. Its page tokens are positions."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = dispatcher_rpc.ToolDispatcherServiceStub(channel)
        self._peer = Peer("tool-dispatcher")

    async def entries(self, before: int, limit: int, action: str, subject: str) -> Sequence[audit_pb2.AuditEntry]:
        token = str(before) if before else ""
        request = dispatcher_pb.ListAuditEntriesRequest(page_size=limit, page_token=token, action=action, subject=subject)
        return (await self._peer.call(self._stub.ListAuditEntries, request, READ_S)).entries

    async def verify(self, known: Anchor | None) -> audit_pb2.AuditVerdict:
        told = known or _NOTHING
        request = dispatcher_pb.VerifyAuditRequest(known_seq=told.seq, known_hash=told.hash)
        return (await self._peer.call(self._stub.VerifyAudit, request, VERIFY_S)).verdict
