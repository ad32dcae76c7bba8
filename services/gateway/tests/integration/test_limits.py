"""What is over the load line is refused, truthfully and early, and in memory that is bounded."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import orjson
import pytest
from gateway_door import Door, Wish, open_door
from plimsoll.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc, memory_pb2
from plimsoll_gateway.config import BoundSettings, HttpSettings
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.waiting import eventually

MIB = 1024 * 1024
INVALID = grpc.StatusCode.INVALID_ARGUMENT


TIGHT = Wish(http=HttpSettings(body_mib=1), bound=BoundSettings(requests=2, bodies_mib=1))


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn, TIGHT) as opened:
        yield opened


@pytest.fixture
async def hasty(postgres_dsn: str):
    """A door for those who never finish; whoever does has to be quicker than a slow machine is."""
    async with open_door(postgres_dsn, replace(TIGHT, http=HttpSettings(body_mib=1, body_cap_s=0.3, idle_cap_s=0.3))) as opened:
        yield opened


async def spoken(door: Door, *pieces: bytes, wait: bool = True) -> tuple[bytes, dict[str, object]]:
    """Say the pieces on a bare connection; the status line and the problem that come back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            return head.split(b"\r\n")[0], orjson.loads(await reader.readexactly(length))
    finally:
        writer.close()


def post(door: Door, *headers: str, path: str = "/v1/agents") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {door.key}", "Content-Type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_a_file_of_fifty_megabytes_is_refused_with_the_limit_and_the_remedy(door: Door):
    body = b'{"source":"' + b"x" * 50 * MIB + b'"}'
    async with door.rest.post("/v1/agents", data=io.BytesIO(body), headers={"Content-Type": "application/json"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"]) == (413, "BODY_TOO_LARGE")
    assert problem["violations"][0]["problem"] == "is larger than 1 MiB"
    assert "PLIMSOLL_GATEWAY_HTTP_BODY_MIB" in problem["violations"][0]["remedy"]


async def test_a_body_without_a_length_is_cut_at_the_limit(door: Door):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (MIB // 8)

    async with door.rest.post("/v1/agents", data=endless(), headers={"Content-Type": "application/json"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"]) == (413, "BODY_TOO_LARGE")


async def test_a_large_message_over_grpc_is_refused_for_the_same_reason(door: Door):
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    request = memory_pb2.IngestDocumentRequest(collection="c", source="s", content=os.urandom(2 * MIB))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.IngestDocument(request, metadata=(("authorization", f"Bearer {door.key}"),))
    refused = error_from_rpc(caught.value, "gateway")
    assert (type(refused), refused.reason, refused.problems[0].problem) == (Invalid, "BODY_TOO_LARGE", "is larger than 1 MiB")


@pytest.mark.parametrize("broken", [b"\xff" * 20, b"\x0a\x7fshort", b"\x0a\x02\xff\xfe", b"\x0b" * 5_000, b"\x80" * 100_000])
async def test_bytes_that_are_no_message_are_refused_as_invalid_and_break_nothing(door: Door, broken: bytes):
    service = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
    metadata = (("authorization", f"Bearer {door.key}"),)
    for method in ("SubmitRun", "ListRuns"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.channel.unary_unary(f"/{service.full_name}/{method}")(broken, metadata=metadata)
        assert (caught.value.code(), error_from_rpc(caught.value, "gateway").reason) == (INVALID, "MALFORMED_REQUEST")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(door.channel.unary_stream(f"/{service.full_name}/FollowRun")(broken, metadata=metadata)))
    assert caught.value.code() is INVALID
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # a stranger learns nothing of it
        await door.channel.unary_unary(f"/{service.full_name}/ListRuns")(broken)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not [one for one in door.peers["orchestrator"].heard if one.method in {"StartRun", "ListRuns"}]
    async with door.rest.get("/v1/runs") as response:
        assert response.status == 200


async def test_a_client_that_asks_before_sending_is_refused_before_it_sends(door: Door):
    status, problem = await spoken(door, post(door, f"Content-Length: {50 * MIB}", "Expect: 100-continue"))
    assert (status, problem["reason"]) == (b"HTTP/1.1 413 Request Entity Too Large", "BODY_TOO_LARGE")


async def test_a_client_that_asks_before_sending_is_told_to_go_on(door: Door):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
    writer.write(post(door, "Content-Length: 14", "Expect: 100-continue"))
    async with asyncio.timeout(60):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"source":"x"}')
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_does_not_arrive_is_given_up(hasty: Door):
    status, problem = await spoken(hasty, post(hasty, "Content-Length: 1000"), b'{"source":')
    assert (status.split()[1], problem["reason"]) == (b"408", "BODY_TOO_SLOW")


async def test_a_body_that_is_malformed_is_refused(door: Door):
    status, problem = await spoken(door, post(door, "Transfer-Encoding: chunked"), b"zz\r\n")
    assert (status.split()[1], problem["reason"]) in {(b"400", "INVALID_REQUEST"), (b"400", "MALFORMED_HTTP")}


async def test_headers_that_never_end_do_not_keep_a_connection(hasty: Door):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(hasty.url.rpartition(":")[2]))
    writer.write(b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nX-Slow: 1")
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "text", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 100_000 + b"\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_as_a_problem_too(door: Door, text: bytes):
    status, problem = await spoken(door, text)
    assert (status.split()[1], problem["reason"]) == (b"400", "MALFORMED_HTTP")


@pytest.mark.parametrize(
    ("header", "value", "says"),
    [
        ("Content-Type", "text/plain", "send JSON, with Content-Type: application/json"),
        ("Content-Encoding", "gzip", "send the body as it is"),
    ],
)
async def test_a_body_that_is_no_plain_json_is_refused(door: Door, header: str, value: str, says: str):
    async with door.rest.post("/v1/agents", data=b"{}", headers={"Content-Type": "application/json"} | {header: value}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"], problem["violations"][0]["remedy"]) == (415, "UNSUPPORTED_BODY", says)


@pytest.mark.parametrize("key", ["x" * 300, "a b", "ä"])
async def test_an_idempotency_key_that_is_none_is_refused(door: Door, key: str):
    async with door.rest.post("/v1/agents/a/runs", json={}, headers={"Idempotency-Key": key}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["field"]) == (400, "Idempotency-Key")


async def test_more_requests_than_the_bound_are_refused_at_once_and_an_answered_one_makes_room(door: Door):
    gate = asyncio.Event()
    door.peers["orchestrator"].answers["ListRuns"] = gate
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(door.rest.get("/v1/runs")) for _ in range(2)]
        await eventually(lambda: len(door.peers["orchestrator"].heard) == 2)
        async with door.rest.get("/v1/agents") as refused:
            problem = await refused.json(content_type=None)
        assert (refused.status, problem["reason"], refused.headers["Retry-After"]) == (429, "TOO_MANY_IN_FLIGHT", "1")
        gate.set()
    assert [task.result().status for task in waiting] == [200, 200]
    async with door.rest.get("/v1/agents") as response:
        assert response.status == 200


async def test_bodies_that_do_not_fit_into_memory_together_wait_outside(door: Door):
    gate = asyncio.Event()
    door.peers["orchestrator"].answers["RegisterAgent"] = gate
    large = {"source": "x" * (MIB * 3 // 4)}
    async with asyncio.TaskGroup() as group:
        first = group.create_task(door.rest.post("/v1/agents", json=large))
        await eventually(lambda: door.peers["orchestrator"].heard)
        async with door.rest.post("/v1/agents", json=large) as refused:
            problem = await refused.json(content_type=None)
        assert (refused.status, problem["reason"]) == (429, "TOO_MANY_IN_FLIGHT")
        gate.set()
    assert first.result().status == 200


async def test_many_requests_share_one_connection_in_order(door: Door):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
    ask = f"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key}\r\n\r\n".encode()
    writer.write(ask * 20)
    async with asyncio.timeout(60):
        for _ in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
    writer.close()


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key"])
async def test_a_header_that_counts_and_comes_twice_is_refused_over_both_protocols(door: Door, name: str):
    value = f"Bearer {door.key}" if name == "Authorization" else "k"
    status, problem = await spoken(door, post(door, f"{name}: {value}", f"{name}: {value}", "Content-Length: 0"))
    assert (status.split()[1], problem["reason"], problem["violations"][0]["field"]) == (b"400", "BAD_HEADER", name)
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    metadata = (("authorization", f"Bearer {door.key}"), (name.lower(), value), (name.lower(), value))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.IngestDocument(memory_pb2.IngestDocumentRequest(collection="c", source="s"), metadata=metadata)
    assert error_from_rpc(caught.value, "gateway").reason == "BAD_HEADER"


async def test_requests_smuggled_behind_one_another_are_not_read(door: Door):
    inner = f"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.key}\r\n\r\n".encode()
    for headers in (("Content-Length: 5", "Transfer-Encoding: chunked"), ("Content-Length: 2", "Content-Length: 90")):
        status, problem = await spoken(door, post(door, *headers) + b"0\r\n\r\n" + inner)
        assert (status.split()[1], problem["reason"]) == (b"400", "MALFORMED_HTTP")
    assert all(peer.heard == [] for peer in door.peers.values())
