"""Where a request of either protocol is served, once it was let in: one verb of the contract, once for each idempotency key."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from plimsoll_runtime.context import current_caller

from plimsoll_gateway.domain.repeat import RequestKey, request_key
from plimsoll_gateway.errors import BadHeader
from plimsoll_gateway.service.once import Once, telling_reuse
from plimsoll_gateway.transport.servicer import GatewayServicer

Verb: TypeAlias = Callable[[Message, None], Awaitable[Message]]

KEY_FIELD = "idempotency_key"
KEPT_BEHIND = frozenset({"SubmitRun", "ForkRun", "RetryRun"})
"""Methods whose keys the orchestrator keeps with the run itself: in the transaction that makes it, for as long as it exists. A second
record here would double the cost of a submission and promise less."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Served:
    """The answer; `replayed` when it was given before, under the same idempotency key."""

    message: Message
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    verb: Verb
    answer: type[Message]
    once: bool


class Desk:
    def __init__(self, servicer: GatewayServicer, service: ServiceDescriptor, once: Once) -> None:
        self._once = once
        self._rules: Mapping[str, _Rule] = {
            method.name: _Rule(getattr(servicer, method.name), message_factory.GetMessageClass(method.output_type), _is_once(method))
            for method in service.methods
            if not method.server_streaming
        }

    async def serve(self, method: str, request: Message, key: str) -> Served:
        """`key` is the idempotency key that came beside the request, empty for none.

        Raises BadHeader, RequestKeyReused, RequestUnderWay, and what the verb raises.
        """
        rule = self._rules[method]
        key = _key_of(request, key)
        if key and method in KEPT_BEHIND:
            with telling_reuse():
                answer = await rule.verb(request, None)
            return Served(answer, replayed=not getattr(answer, "created"))  # noqa: B009 - all three answers have it, in classes of their own
        if not key or not rule.once:
            return Served(await rule.verb(request, None))

        async def work() -> bytes:
            return (await rule.verb(request, None)).SerializeToString()

        outcome = await self._once.do(self._request_key(method, request, key), work)
        return Served(rule.answer.FromString(outcome.answer), outcome.replayed)

    def _request_key(self, method: str, request: Message, key: str) -> RequestKey:
        asked = request
        if KEY_FIELD in request.DESCRIPTOR.fields_by_name:
            asked = type(request)()
            asked.CopyFrom(request)
            asked.ClearField(KEY_FIELD)
        text = asked.SerializeToString(deterministic=True)
        return request_key(current_caller().tenant, key, method, text)


def _is_once(method: MethodDescriptor) -> bool:
    """Whether the method changes anything."""
    return method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS and method.name not in KEPT_BEHIND


def _key_of(request: Message, beside: str) -> str:
    """The one key of a request. Over gRPC it may come in the metadata and in the message; a method that keeps it itself gets it there."""
    if beside and not _KEY.fullmatch(beside):
        raise BadHeader("Idempotency-Key", "is no key", "use 1 to 255 visible ASCII characters")
    if KEY_FIELD not in request.DESCRIPTOR.fields_by_name:
        return beside
    inside = str(getattr(request, KEY_FIELD))
    if inside and beside and inside != beside:
        raise BadHeader("Idempotency-Key", "is another key than the message has", "send one of the two")
    if beside:
        setattr(request, KEY_FIELD, beside)
    return inside or beside
