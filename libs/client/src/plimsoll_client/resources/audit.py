"""The audit logs of a mesh."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import audit_pb2 as pb
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc

from plimsoll_client.audit import AuditedService, AuditEntry, AuditVerdict
from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.audit import entry_from_proto, service_to_proto, verdict_from_proto

_VERIFY_S = 60.0


class Audit:
    """For who may read them: administrators. Each service keeps a chain of its own for the tenant."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def entries(
        self, *, service: AuditedService | None = None, action: str = "", subject: str = "", limit: int = 50
    ) -> Sequence[AuditEntry]:
        """Newest first; of one service, action or subject where they are given."""

        async def page(size: int, token: str) -> pb.ListAuditEntriesResponse:
            request = pb.ListAuditEntriesRequest(
                service=service_to_proto(service), action=action, subject=subject, page_size=size, page_token=token
            )
            return await self._calls.repeatable(self._stub.ListAuditEntries, request)

        return [entry_from_proto(one) for one in await every(page, lambda answer: answer.entries, limit=limit)]

    async def verify(self, *, service: AuditedService | None = None, known_seq: int = 0, known_hash: str = "") -> Sequence[AuditVerdict]:
        """Have the chains recomputed. An entry of the service that was noted earlier is looked for as well: nobody can make that anew."""
        request = pb.VerifyAuditRequest(service=service_to_proto(service), known_seq=known_seq, known_hash=known_hash)
        answer = await self._calls.repeatable(self._stub.VerifyAudit, request, cap_s=_VERIFY_S)
        return [verdict_from_proto(one) for one in answer.verdicts]
