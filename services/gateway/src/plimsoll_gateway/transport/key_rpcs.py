"""The methods of the contract about who asks: keys, usage, the caller."""

from typing import TypeAlias

import grpc
from google.protobuf.message import Message
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, keys_pb2

from plimsoll_gateway.service.doorway import visitor
from plimsoll_gateway.service.identity import Identity

Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message] | None"  # None over REST; nothing here looks at it


class KeyRpcs(gateway_service_pb2_grpc.GatewayServiceServicer):
    """For the tenant of whoever was let in."""

    _identity: Identity

    async def GetCaller(self, _request: keys_pb2.GetCallerRequest, _: Context) -> keys_pb2.GetCallerResponse:
        return self._identity.caller(visitor())

    async def CreateKey(self, request: keys_pb2.CreateKeyRequest, _: Context) -> keys_pb2.CreateKeyResponse:
        return await self._identity.create(request, visitor())

    async def ListKeys(self, _request: keys_pb2.ListKeysRequest, _: Context) -> keys_pb2.ListKeysResponse:
        return await self._identity.keys(visitor())

    async def RotateKey(self, request: keys_pb2.RotateKeyRequest, _: Context) -> keys_pb2.RotateKeyResponse:
        return await self._identity.rotate(request, visitor())

    async def RevokeKey(self, request: keys_pb2.RevokeKeyRequest, _: Context) -> keys_pb2.RevokeKeyResponse:
        return await self._identity.revoke(request, visitor())

    async def ListKeyEvents(self, request: keys_pb2.ListKeyEventsRequest, _: Context) -> keys_pb2.ListKeyEventsResponse:
        return await self._identity.events(request, visitor())

    async def GetUsage(self, request: keys_pb2.GetUsageRequest, _: Context) -> keys_pb2.GetUsageResponse:
        return await self._identity.usage(request, visitor())
