"""What people did, and what was denied: the audit logs of all services as one list, and whether each is as it was written."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import TypeAlias, TypeVar

from plimsoll.common.v1 import audit_pb2
from plimsoll.gateway.v1 import audit_pb2 as pb
from plimsoll_runtime.audit import Anchor
from plimsoll_runtime.errors import unwrap

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import AuditLog

Service: TypeAlias = "pb.AuditedService.ValueType"
Found = TypeVar("Found")

_PAGE, _PAGE_CAP = 100, 1000
_END, _START = 0, 1  # positions: below the end is everything, below the first entry nothing


class AuditTrail:
    """Of the present tenant. A service that is away fails the whole answer: a trail with a hole would look like one without."""

    def __init__(self, logs: Mapping[Service, AuditLog]) -> None:
        self._logs = logs

    async def list(self, request: pb.ListAuditEntriesRequest) -> pb.ListAuditEntriesResponse:
        """Newest first by the services' clocks, and each chain in its own order. Raises Invalid."""
        logs, size = self._of(request.service), request.page_size or _PAGE
        if not 1 <= size <= _PAGE_CAP:
            raise wrong("pageSize", f"is not between 1 and {_PAGE_CAP}", f"send 0 for {_PAGE}")
        for field, text in (("action", request.action), ("subject", request.subject)):
            if "\x00" in text:
                raise wrong(field, "holds the character U+0000", "leave it out")
        before = _positions(request.page_token, logs)

        async def page(service: Service, log: AuditLog) -> list[pb.AuditedEntry]:
            if before[service] == _START:
                return []
            found = await log.entries(before[service], size, request.action, request.subject)
            return [pb.AuditedEntry(service=service, entry=one) for one in found]

        pages = await _at_once(logs, page)
        taken = list(islice(merge(*pages.values(), key=_newest), size))
        after = {service: _after(pages[service], [one for one in taken if one.service == service], size) for service in logs}
        more = any(position != _START for position in after.values())
        return pb.ListAuditEntriesResponse(entries=taken, next_page_token="-".join(map(str, after.values())) if more else "")

    async def verify(self, request: pb.VerifyAuditRequest) -> pb.VerifyAuditResponse:
        """Raises Invalid."""
        logs, known = self._of(request.service), None
        if request.known_seq < 0:
            raise wrong("knownSeq", "is negative", "send the position of an entry that you know, or leave it out")
        if request.known_seq:
            if len(logs) > 1:
                raise wrong("service", "is absent, but an entry of one service is known", "name the service that keeps it")
            known = Anchor(seq=request.known_seq, hash=request.known_hash)

        async def verdict(_: Service, log: AuditLog) -> audit_pb2.AuditVerdict:
            return await log.verify(known)

        verdicts = await _at_once(logs, verdict)
        return pb.VerifyAuditResponse(verdicts=[pb.AuditedVerdict(service=service, verdict=one) for service, one in verdicts.items()])

    def _of(self, service: Service) -> Mapping[Service, AuditLog]:
        if service == pb.AUDITED_SERVICE_UNSPECIFIED:
            return self._logs
        if service not in self._logs:
            raise wrong("service", f"is {service}, which keeps no audit log", "leave it out for all")
        return {service: self._logs[service]}


async def _at_once(logs: Mapping[Service, AuditLog], ask: Callable[[Service, AuditLog], Awaitable[Found]]) -> Mapping[Service, Found]:
    async def asked(service: Service, log: AuditLog) -> Found:
        return await ask(service, log)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {service: group.create_task(asked(service, log)) for service, log in logs.items()}
    except BaseExceptionGroup as raised:
        error = unwrap(raised)
        raise error from raised
    return {service: task.result() for service, task in tasks.items()}


def _newest(one: pb.AuditedEntry) -> tuple[int, int]:
    return -one.entry.time.seconds, -one.entry.time.nanos


def _after(page: Sequence[pb.AuditedEntry], taken: Sequence[pb.AuditedEntry], size: int) -> int:
    """Where a chain goes on behind what was taken of its page."""
    if len(taken) == len(page) < size:
        return _START
    return taken[-1].entry.seq if taken else page[0].entry.seq + 1


def _positions(token: str, logs: Mapping[Service, AuditLog]) -> Mapping[Service, int]:
    if not token:
        return dict.fromkeys(logs, _END)
    words = token.split("-")
    if len(words) != len(logs) or not all(word.isascii() and word.isdigit() and 0 < int(word[:20]) < 2**63 for word in words):
        raise wrong("pageToken", "is no token of ours", "send the nextPageToken of the page before, with the same service")
    return dict(zip(logs, map(int, words), strict=True))
