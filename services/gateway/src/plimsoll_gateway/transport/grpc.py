"""The public gRPC server: API keys instead of certificates, everything else as inside the mesh."""

from plimsoll.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from plimsoll_runtime import logs
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import Context, Identity, RpcServer, RpcService
from plimsoll_runtime.settings import ServerSettings

from plimsoll_gateway.service.access import Access, Bounds
from plimsoll_gateway.transport.servicer import GatewayServicer

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]


class ApiKeys:
    """Authenticates and authorises a call by its `authorization` metadata, and gives it a place until it ends."""

    def __init__(self, access: Access, bounds: Bounds) -> None:
        self._access = access
        self._bounds = bounds

    async def __call__(self, method: str, context: Context) -> Identity:
        """Raises Unauthenticated, Denied, or TooManyInFlight."""
        name = method.rpartition("/")[2]
        shown = next((str(value) for key, value in context.invocation_metadata() or () if key == "authorization"), "")
        principal = await self._access.admit(shown, name)
        bound = self._bounds.streams if SERVICE.methods_by_name[name].server_streaming else self._bounds.requests
        bound.take()
        context.add_done_callback(lambda _: bound.give_back())
        return Identity(service="", tenant=principal.tenant, principal=principal.actor)


def public_server(
    settings: ServerSettings, listen: str, servicer: GatewayServicer, keys: ApiKeys, metrics: Metrics, log: logs.Log
) -> RpcServer:
    """The server for clients: plaintext, because TLS towards clients ends at the ingress, for REST and gRPC alike."""
    service = RpcService(SERVICE.full_name, lambda server: gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server))
    return RpcServer(settings, [service], keys, metrics, log, listen=listen, plaintext=True)
