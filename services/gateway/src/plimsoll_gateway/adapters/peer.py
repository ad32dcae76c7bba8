"""Calls to a service behind the gateway: named, capped, and its absence told as what it is."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import grpc
from plimsoll_runtime import rpc_client
from plimsoll_runtime.errors import DeadlineExpired, Internal, PlimsollError, Unauthenticated

from plimsoll_gateway.errors import DependencyAway, DependencySlow

Request = TypeVar("Request")
Response = TypeVar("Response")

LOOK_S = 2.0
READ_S = 10.0
WRITE_S = 15.0
INGEST_S = 60.0
VERIFY_S = 60.0
EXPORT_S = 600.0
GENERATE_S = 600.0
FOLLOW_S = 3600.0  # then the client comes again with its cursor

_AWAY_S = 1.0
_OURS = frozenset({"CALLER_NOT_ALLOWED", "NO_CERTIFICATE", "NO_TENANT"})  # refusals of the gateway itself, not of its caller


class Peer:
    """One service behind the gateway, by its folder name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, cap_s: float) -> Response:
        """Raises the peer's own error, or DependencyAway and DependencySlow when there is none to be had."""
        try:
            answer: Response = await rpc_client.call(method, request, cap_s=cap_s, target=f"the {self._name}")
        except PlimsollError as error:
            raise self._told(error) from error
        return answer

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, cap_s: float
    ) -> AsyncGenerator[Response, None]:
        """The same for a stream; closing the generator cancels the call."""
        answers: AsyncGenerator[Response, None] = rpc_client.stream(method, request, cap_s=cap_s, target=f"the {self._name}")
        async with aclosing(answers) as open_answers:
            try:
                async for answer in open_answers:
                    yield answer
            except PlimsollError as error:
                raise self._told(error) from error

    def _told(self, error: PlimsollError) -> PlimsollError:
        if error.reason == "UNREACHABLE":
            return DependencyAway(f"the {self._name} cannot be reached", remedy="try again", retry_after_s=_AWAY_S)
        if error.reason == DeadlineExpired.reason:
            return DependencySlow(f"the {self._name} did not answer in time", remedy="try again")
        if isinstance(error, Unauthenticated) or error.reason in _OURS:
            return Internal(f"the {self._name} does not let the gateway in", reason="DEPENDENCY_REFUSED")
        return error
