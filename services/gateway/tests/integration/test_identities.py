"""Every method over both protocols with no, a wrong, an expired, a revoked, an under-scoped and another tenant's identity."""

import json
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from gateway_door import Door, open_door
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_gateway.domain.principal import key_digest, key_text
from plimsoll_gateway.domain.scopes import ANYBODY, NEEDED, ROLES, Scope
from plimsoll_gateway.service.keys import KeyRequest
from plimsoll_gateway.transport.routes import RouteTable
from plimsoll_runtime.errors import NotFound, PlimsollError
from plimsoll_runtime.status import error_from_rpc

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
ROUTES = RouteTable(SERVICE).routes
METHODS = {method.name: method for method in SERVICE.methods}


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        for peer in opened.peers.values():  # nothing of another tenant's exists
            for method in peer.service.methods:
                peer.answers[method.name] = NotFound("there is none", reason="NOT_FOUND")
            peer.journal = [NotFound("there is none", reason="NOT_FOUND")]
        yield opened


async def over_rest(door: Door, http: str, path: str, authorization: str) -> tuple[int, str]:
    headers = {"Authorization": authorization} if authorization else {"Authorization": ""}
    async with door.rest.request(http, path, headers=headers) as response:
        if response.status == 200:
            return 200, ""
        return response.status, (await response.json(content_type=None))["reason"]


async def over_grpc(door: Door, method: MethodDescriptor, authorization: str) -> str:
    make = door.channel.unary_stream if method.server_streaming else door.channel.unary_unary
    request, response = message_factory.GetMessageClass(method.input_type), message_factory.GetMessageClass(method.output_type)
    call = make(f"/{SERVICE.full_name}/{method.name}", request.SerializeToString, response.FromString)(
        request(), metadata=(("authorization", authorization),) if authorization else ()
    )
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        refused: PlimsollError = error_from_rpc(error, "gateway")
        return refused.reason
    return ""


async def strangers(door: Door) -> dict[str, str]:
    """Identities that are nobody's, and the reason that each is refused for."""
    revoked = await door.ring.create(KeyRequest(tenant="acme", name="old", scopes=ROLES["admin"]))
    await door.ring.revoke("acme", revoked.record.key_id)
    expired = key_text("key_expired", "e" * 43)
    await door.pool.execute(
        "insert into api_keys (key_id, tenant, name, digest, scopes, created_at, created_by, expires_at) "
        "values ('key_expired', 'acme', 'x', $1, '{runs:read}', $2, 'command', $2)",
        key_digest(expired),
        datetime.now(UTC) - timedelta(days=1),
    )
    swapped = door.key[:-4] + ("AAAA" if not door.key.endswith("AAAA") else "BBBB")
    return {
        "": "KEY_MISSING",
        "Basic YTpi": "KEY_MISSING",
        f"Bearer {key_text('key_nobody', 'x' * 43)}": "KEY_UNKNOWN",
        f"Bearer {swapped}": "KEY_UNKNOWN",
        "Bearer eyJhbGciOiJub25lIn0.e30.": "KEY_UNKNOWN",
        f"Bearer {revoked.text}": "KEY_REVOKED",
        f"Bearer {expired}": "KEY_EXPIRED",
    }


def path_of(path: str) -> str:
    return "".join(f"x{part.partition('}')[2]}" if index else part for index, part in enumerate(path.split("{")))


async def test_nobody_gets_in_without_a_good_key(door: Door):
    for shown, reason in (await strangers(door)).items():
        for route in ROUTES:
            assert await over_rest(door, route.http, path_of(route.path), shown) == (401, reason), route
            assert await over_grpc(door, METHODS[route.method], shown) == reason, route
    assert all(peer.heard == [] for peer in door.peers.values())


async def test_every_scope_but_the_one_that_is_needed_is_not_enough(door: Door):
    for scope in sorted(set(NEEDED.values())):
        key = await door.ring.create(KeyRequest(tenant="acme", name="under", scopes=frozenset(Scope) - {scope}))
        for route in (one for one in ROUTES if NEEDED.get(one.method) == scope):
            assert await over_rest(door, route.http, path_of(route.path), f"Bearer {key.text}") == (403, "SCOPE_MISSING"), route
            assert await over_grpc(door, METHODS[route.method], f"Bearer {key.text}") == "SCOPE_MISSING", route
    assert all(peer.heard == [] for peer in door.peers.values())


async def test_another_tenants_thing_answers_as_one_that_does_not_exist_and_costs_the_same_work(door: Door):
    """The gateway decides nothing by whose a thing is: it asks once, for the tenant of the key, whatever the path names."""
    other = await door.make_key(tenant="other")
    for route in (one for one in ROUTES if one.variables and one.method not in ANYBODY):
        seen = []
        for name in ("run-of-acme", "run-of-zzzz"):
            before = {peer: len(door.peers[peer].heard) for peer in door.peers}
            path = path_of(route.path).replace("/x", f"/{name}")
            async with door.rest.request(route.http, path, headers={"Authorization": f"Bearer {other}"}) as response:
                text = (await response.text()).replace(name, "")
                headers = {key: value for key, value in response.headers.items() if not key.startswith(("Date", "RateLimit"))}
            heard = [one for peer, count in before.items() for one in door.peers[peer].heard[count:]]
            assert {one.caller.tenant for one in heard} <= {"other"}
            document = {key: value for key, value in json.loads(text).items() if key != "traceId"} if text else {}
            seen.append((response.status, document, {**headers, "Content-Length": ""}, [one.method for one in heard]))
        assert seen[0] == seen[1], route
