"""The audit logs of all services through the door: one list without gaps, for administrators of the tenant, and verdicts on each chain."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from gateway_door import Door, open_door
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.common.v1 import audit_pb2, audit_service_pb2
from plimsoll.gateway.v1 import audit_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll_gateway.service.audit import AuditTrail
from plimsoll_runtime.audit import Anchor
from plimsoll_runtime.errors import Invalid, Unavailable

SERVICES = [number for number in pb.AuditedService.values() if number]


@dataclass
class FakeAuditLog:
    """A chain of one service; `seconds` is when its entries were written, the first one first."""

    seconds: Sequence[int] = ()
    known: list[Anchor | None] = field(default_factory=list)

    async def entries(self, before: int, limit: int, action: str, subject: str) -> Sequence[audit_pb2.AuditEntry]:
        chain = [audit_pb2.AuditEntry(seq=at, time=Timestamp(seconds=second)) for at, second in enumerate(self.seconds, 1)]
        return [one for one in reversed(chain) if not before or one.seq < before][:limit]

    async def verify(self, known: Anchor | None) -> audit_pb2.AuditVerdict:
        self.known.append(known)
        return audit_pb2.AuditVerdict(intact=True, entries=len(self.seconds))


async def all_pages(trail: AuditTrail, size: int) -> list[tuple[int, int]]:
    request, found = pb.ListAuditEntriesRequest(page_size=size), []
    while True:
        page = await trail.list(request)
        found += [(one.service, one.entry.seq) for one in page.entries]
        if not page.next_page_token:
            return found
        assert page.entries
        request.page_token = page.next_page_token


@given(st.lists(st.lists(st.integers(0, 20), max_size=6), min_size=4, max_size=4), st.integers(1, 7))
async def test_pages_of_any_size_hold_every_entry_once_and_each_chain_in_its_order(chains: list[list[int]], size: int):
    trail = AuditTrail({service: FakeAuditLog(chain) for service, chain in zip(SERVICES, chains, strict=True)})
    found = await all_pages(trail, size)
    for service, chain in zip(SERVICES, chains, strict=True):
        assert [seq for of, seq in found if of == service] == list(range(len(chain), 0, -1))
    assert found == await all_pages(trail, 1000)


async def test_entries_of_all_services_come_newest_first():
    trail = AuditTrail({1: FakeAuditLog([1, 5]), 2: FakeAuditLog([3])})
    assert await all_pages(trail, 2) == [(1, 2), (2, 1), (1, 1)]


async def test_an_entry_that_is_known_is_looked_for_in_its_own_chain_only():
    gateway, router = FakeAuditLog([1]), FakeAuditLog()
    trail = AuditTrail({1: gateway, 3: router})
    await trail.verify(pb.VerifyAuditRequest(service=pb.AUDITED_SERVICE_GATEWAY, known_seq=1, known_hash="h"))
    assert (gateway.known, router.known) == ([Anchor(seq=1, hash="h")], [])
    assert [one.service for one in (await trail.verify(pb.VerifyAuditRequest())).verdicts] == [1, 3]


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListAuditEntriesRequest(page_size=-1),
        pb.ListAuditEntriesRequest(page_size=1001),
        pb.ListAuditEntriesRequest(service=99),
        pb.ListAuditEntriesRequest(action="a\0"),
        pb.ListAuditEntriesRequest(page_token="7"),
        pb.ListAuditEntriesRequest(page_token="1-0"),
        pb.ListAuditEntriesRequest(page_token="1-x"),
        pb.ListAuditEntriesRequest(page_token="1--2"),
        pb.ListAuditEntriesRequest(page_token=f"1-{2**63}"),
        pb.VerifyAuditRequest(service=99),
        pb.VerifyAuditRequest(known_seq=1, known_hash="h"),
        pb.VerifyAuditRequest(service=pb.AUDITED_SERVICE_GATEWAY, known_seq=-1),
    ],
)
async def test_what_cannot_be_asked_is_refused(request_: pb.ListAuditEntriesRequest | pb.VerifyAuditRequest):
    trail = AuditTrail({1: FakeAuditLog(), 3: FakeAuditLog()})
    with pytest.raises(Invalid):
        await (trail.verify(request_) if isinstance(request_, pb.VerifyAuditRequest) else trail.list(request_))


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        yield opened


async def ask(door: Door, path: str, key: str = "") -> tuple[int, dict]:
    async with door.rest.get(path, headers={"Authorization": f"Bearer {key or door.key}"}) as response:
        return response.status, await response.json(content_type=None)


async def test_the_door_gathers_what_each_service_keeps_for_the_tenant(door: Door):
    far = Timestamp(seconds=4_000_000_000)
    told = {"actor": "ada", "action": "tool.disabled", "subject": "tool:refund", "details": {"text": '{"a":1}'}, "hash": "h", "time": far}
    entry = audit_pb2.AuditEntry(seq=7, **told)
    door.peers["tool_dispatcher"].answers["ListAuditEntries"] = dispatcher_pb.ListAuditEntriesResponse(entries=[entry])
    entry.seq, entry.time.seconds = 3, 5
    door.peers["feedback"].answers["ListAuditEntries"] = audit_service_pb2.ListAuditEntriesResponse(entries=[entry])
    status, page = await ask(door, "/v1/audit-log?pageSize=3")
    assert status == 200
    assert [(one["service"], one["entry"]["seq"]) for one in page["entries"]] == [
        ("AUDITED_SERVICE_TOOL_DISPATCHER", "7"),
        ("AUDITED_SERVICE_GATEWAY", "1"),
        ("AUDITED_SERVICE_FEEDBACK", "3"),
    ]
    assert page["entries"][1]["entry"]["action"] == "key.created"
    assert page["nextPageToken"] == ""
    for name in ("tool_dispatcher", "model_router", "feedback"):
        [heard] = [one for one in door.peers[name].heard if one.method == "ListAuditEntries"]
        assert heard.caller.tenant == "acme"
    await ask(door, "/v1/audit-log?service=AUDITED_SERVICE_TOOL_DISPATCHER&action=tool.disabled&subject=x&pageToken=7")
    assert door.peers["tool_dispatcher"].heard[-1].request == dispatcher_pb.ListAuditEntriesRequest(
        page_size=100, page_token="7", action="tool.disabled", subject="x"
    )
    await ask(door, "/v1/audit-log?service=AUDITED_SERVICE_MODEL_ROUTER&action=tool.disabled&subject=x&pageToken=7")
    assert door.peers["model_router"].heard[-1].request == audit_service_pb2.ListAuditEntriesRequest(
        page_size=100, before_seq=7, action="tool.disabled", subject="x"
    )


async def test_a_chain_that_somebody_changed_is_told_with_the_place(door: Door):
    await door.make_key(name="second")
    _, before = await ask(door, "/v1/audit-log:verify?service=AUDITED_SERVICE_GATEWAY")
    verdict = before["verdicts"][0]["verdict"]
    assert (verdict["intact"], verdict["entries"]) == (True, "2")
    known = f"knownSeq=2&knownHash={verdict['headHash']}"
    assert (await ask(door, f"/v1/audit-log:verify?service=AUDITED_SERVICE_GATEWAY&{known}"))[1] == before
    async with door.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local plimsoll.audit_tenant = 'acme'")
        await connection.execute("alter table audit_log disable trigger append_only")
        await connection.execute("update audit_log set actor = 'nobody' where seq = 1")
    _, after = await ask(door, "/v1/audit-log:verify?service=AUDITED_SERVICE_GATEWAY")
    assert (after["verdicts"][0]["verdict"]["brokenAt"], after["verdicts"][0]["verdict"]["problem"]) == ("1", "was changed")
    assert not after["verdicts"][0]["verdict"].get("intact")


async def test_only_administrators_look_and_each_at_their_own_tenant(door: Door):
    for path in ("/v1/audit-log", "/v1/audit-log:verify"):
        for role in ("viewer", "operator"):
            status, problem = await ask(door, path, await door.make_key(role=role, name=role))
            assert (status, problem["reason"]) == (403, "SCOPE_MISSING")
    _, other = await ask(door, "/v1/audit-log", await door.make_key(tenant="other"))
    assert [(one["service"], one["entry"]["seq"]) for one in other["entries"]] == [("AUDITED_SERVICE_GATEWAY", "1")]


async def test_a_service_that_is_away_leaves_no_silent_hole(door: Door):
    door.peers["model_router"].answers["ListAuditEntries"] = Unavailable("no database")
    status, _ = await ask(door, "/v1/audit-log")
    assert status == 503
    status, _ = await ask(door, "/v1/audit-log?service=AUDITED_SERVICE_GATEWAY")
    assert status == 200
