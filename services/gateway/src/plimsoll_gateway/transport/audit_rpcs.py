"""The methods of the contract about the audit logs."""

from plimsoll.gateway.v1 import audit_pb2, gateway_service_pb2_grpc

from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.transport.key_rpcs import Context


class AuditRpcs(gateway_service_pb2_grpc.GatewayServiceServicer):
    """For the tenant of whoever was let in."""

    _gateway: Gateway

    async def ListAuditEntries(self, request: audit_pb2.ListAuditEntriesRequest, _: Context) -> audit_pb2.ListAuditEntriesResponse:
        return await self._gateway.audit.list(request)

    async def VerifyAudit(self, request: audit_pb2.VerifyAuditRequest, _: Context) -> audit_pb2.VerifyAuditResponse:
        return await self._gateway.audit.verify(request)
