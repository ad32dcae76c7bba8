# ruff: noqa: N802 - gRPC names the methods
"""`plimsoll audit-log` against a gateway."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from client_fakes import AT, KEY
from client_shell import Shell
from plimsoll.common.v1 import audit_pb2 as common_pb
from plimsoll.gateway.v1 import audit_pb2 as pb
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll_runtime.wire import json_to_proto, timestamp_to_proto


class FakeAudit(rpc.GatewayServiceServicer):
    """Two entries, a page each; the router's chain is broken once `broken`."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.broken = False

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, _: Any) -> pb.ListAuditEntriesResponse:
        self.heard.append(request)
        first = not request.page_token
        entry = common_pb.AuditEntry(
            seq=2 if first else 1,
            time=timestamp_to_proto(AT),
            actor="ann (key_0)",
            action="label.overridden" if first else "key.created",
            subject="prompt:answer@production" if first else "key:key_0",
            details=json_to_proto({"reason": "insults people"} if first else {}),
            hash="h2" if first else "h1",
            previous_hash="h1" if first else "",
        )
        service = pb.AUDITED_SERVICE_MODEL_ROUTER if first else pb.AUDITED_SERVICE_GATEWAY
        return pb.ListAuditEntriesResponse(entries=[pb.AuditedEntry(service=service, entry=entry)], next_page_token="more" if first else "")

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, _: Any) -> pb.VerifyAuditResponse:
        self.heard.append(request)
        router = common_pb.AuditVerdict(intact=True, entries=2, head_hash="h2")
        if self.broken:
            router = common_pb.AuditVerdict(entries=1, head_hash="h1", broken_at=2, problem="was changed")
        gateway = common_pb.AuditVerdict(intact=True, entries=1, head_hash="h1")
        return pb.VerifyAuditResponse(
            verdicts=[
                pb.AuditedVerdict(service=pb.AUDITED_SERVICE_GATEWAY, verdict=gateway),
                pb.AuditedVerdict(service=pb.AUDITED_SERVICE_MODEL_ROUTER, verdict=router),
            ]
        )


@pytest.fixture
async def audit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeAudit]:
    server, fake = grpc.aio.server(), FakeAudit()
    rpc.add_GatewayServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("PLIMSOLL_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("PLIMSOLL_API_KEY", KEY)
    yield fake
    await server.stop(None)


async def test_entries_of_all_services_are_listed_over_all_pages(audit: FakeAudit, plimsoll: Shell) -> None:
    assert await plimsoll("audit-log") == 0
    lines = plimsoll.out.splitlines()
    for line, words in zip(lines[1:], (("model-router", "label.overridden", "insults people"), ("gateway", "key.created")), strict=True):
        for word in (*words, "ann (key_0)"):
            assert word in line
    assert await plimsoll("audit-log", "--service", "model-router", "--action", "a", "--subject", "s", "-n", "1", "--json") == 0
    [told] = plimsoll.json()  # type: ignore[misc]
    assert (told["service"], told["seq"], told["details"], told["previous_hash"]) == ("model-router", 2, {"reason": "insults people"}, "h1")
    assert audit.heard[-1] == pb.ListAuditEntriesRequest(service=pb.AUDITED_SERVICE_MODEL_ROUTER, action="a", subject="s", page_size=1)


async def test_a_broken_chain_is_told_with_its_place_and_fails_the_command(audit: FakeAudit, plimsoll: Shell) -> None:
    assert await plimsoll("audit-log", "--verify") == 0
    assert plimsoll.out.count("intact") == 2
    audit.broken = True
    assert await plimsoll("audit-log", "--verify") == 1
    assert "broken: entry 2 was changed" in plimsoll.out
    assert await plimsoll("audit-log", "--verify", "--json") == 1
    told = plimsoll.json()
    assert isinstance(told, list)
    assert [(one["service"], one["intact"], one["broken_at"]) for one in told] == [("gateway", True, 0), ("model-router", False, 2)]


async def test_an_entry_that_was_noted_is_asked_for_with_its_service(audit: FakeAudit, plimsoll: Shell) -> None:
    assert await plimsoll("audit-log", "--verify", "--service", "gateway", "--known", "7:3f0c") == 0
    assert audit.heard[-1] == pb.VerifyAuditRequest(service=pb.AUDITED_SERVICE_GATEWAY, known_seq=7, known_hash="3f0c")
    for argv in (("--known", "7:3f"), ("--verify", "--known", "7:3f"), ("--verify", "--service", "gateway", "--known", "x:3f")):
        assert await plimsoll("audit-log", *argv) == 2
        assert "--known" in plimsoll.err
