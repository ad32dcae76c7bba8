"""The audit log: append-only, one chain of hashes per tenant and service, written in the transaction of what it tells.

    await migrate(pool, SCHEMA, [AUDIT_MIGRATIONS, …])
    async with connection.transaction():
        ...what is done
        await audit.append(connection, [AuditRecord(tenant="acme", actor="ada", action="tool.disabled", subject="tool:refund")])  # last

Whoever changes, deletes, reorders or adds rows behind its back is found out by `verify`, unless they make the whole rest of the chain
anew, its head included. Against that helps an anchor: a position and hash that somebody keeps outside of the database.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
from plimsoll.common.v1 import audit_pb2

from plimsoll_runtime.json_types import JsonObject, canonical, parse_json
from plimsoll_runtime.postgres import MigrationSet, translating
from plimsoll_runtime.wire import json_to_proto, timestamp_to_proto

AUDIT_MIGRATIONS = MigrationSet("audit", "plimsoll_runtime", "audit_migrations")
_ACQUIRE_CAP_S = 5.0
_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_APPEND = """
select audit_append(tenant, actor, action, subject, details)
from (select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
      with ordinality as r (tenant, actor, action, subject, details, nth) order by tenant, nth) as ordered"""

_ENTRIES = """
select * from audit_log where tenant = $1 and seq < $2 and ($3 = '' or action = $3) and ($4 = '' or subject = $4) order by seq desc limit $5"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """Something to be kept. `details` hold no secret, and no prompt, argument or output: digests and names."""

    tenant: str
    actor: str
    action: str
    subject: str
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A record in its place; `details` as the text that was hashed."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A position and its hash, as a look at the chain told them earlier."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What a look at a whole chain found; `broken_at` is the first entry that is not as it was written, 0 when all are."""

    entries: int
    head_hash: str
    broken_at: int = 0
    problem: str = ""

    @property
    def is_intact(self) -> bool:
        return not self.problem


async def append(connection: asyncpg.Connection, records: Sequence[AuditRecord]) -> None:
    """Add records inside the caller's transaction, as its last statement: who appends to the same chain waits until it ends."""
    if records:
        await connection.fetch(
            _APPEND,
            [record.tenant for record in records],
            [record.actor for record in records],
            [record.action for record in records],
            [record.subject for record in records],
            [canonical(record.details) for record in records],
        )


async def entries(
    pool: asyncpg.Pool, tenant: str, *, before: int = 0, limit: int = 100, action: str = "", subject: str = ""
) -> Sequence[AuditEntry]:
    """A page of the chain, newest first, below the position `before` (0: from its end), of one action or subject where they are given."""
    async with _reading(pool, tenant) as connection:
        rows = await connection.fetch(_ENTRIES, tenant, before or 2**63 - 1, action, subject, limit)
    return [_entry(row) for row in rows]


async def verify(pool: asyncpg.Pool, tenant: str, *, anchor: Anchor | None = None) -> AuditVerdict:
    """Look at the whole chain as it is now, and whether it still holds the anchor."""
    async with _reading(pool, tenant) as connection:
        row = await connection.fetchrow("select seq, hash from audit_heads where tenant = $1", tenant)
        head = Anchor(seq=row["seq"], hash=row["hash"]) if row is not None else Anchor(seq=0, hash="")
        last = Anchor(seq=0, hash="")
        while rows := await connection.fetch(
            "select * from audit_log where tenant = $1 and seq > $2 order by seq limit $3", tenant, last.seq, _PAGE
        ):
            for entry in map(_entry, rows):
                problem = problem_of(tenant, entry, last, anchor)
                if problem:
                    return AuditVerdict(entries=last.seq, head_hash=last.hash, broken_at=last.seq + 1, problem=problem)
                last = Anchor(seq=entry.seq, hash=entry.hash)
    missing = max(head.seq, anchor.seq if anchor else 0) > last.seq
    if missing or head != last:
        problem = "is missing: the chain was cut off here" if missing else "was added behind the back of the log"
        return AuditVerdict(entries=last.seq, head_hash=last.hash, broken_at=last.seq + missing, problem=problem)
    return AuditVerdict(entries=last.seq, head_hash=last.hash)


def problem_of(tenant: str, entry: AuditEntry, last: Anchor, anchor: Anchor | None = None) -> str:
    """What is wrong with the entry that should follow `last`; empty when nothing is."""
    if entry.seq != last.seq + 1:
        return "is missing"
    if entry.previous != last.hash:
        return "does not follow the entry before it"
    if entry.hash != hash_of(tenant, entry):
        return "was changed"
    if anchor is not None and anchor.seq == entry.seq and anchor.hash != entry.hash:
        return "is another than the one that was known under this position"
    return ""


def hash_of(tenant: str, entry: AuditEntry) -> str:
    """As the database makes it in `audit_hash`."""
    micros = (entry.at - _EPOCH) // _MICROSECOND
    fields = (entry.previous, tenant, str(entry.seq), str(micros), entry.actor, entry.action, entry.subject, entry.details)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(text), text) for text in map(str.encode, fields))).hexdigest()


def entry_to_proto(entry: AuditEntry) -> audit_pb2.AuditEntry:
    return audit_pb2.AuditEntry(
        seq=entry.seq,
        time=timestamp_to_proto(entry.at),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        details=json_to_proto(parse_json(entry.details)),
        hash=entry.hash,
        previous_hash=entry.previous,
    )


def verdict_to_proto(verdict: AuditVerdict) -> audit_pb2.AuditVerdict:
    return audit_pb2.AuditVerdict(
        intact=verdict.is_intact,
        entries=verdict.entries,
        head_hash=verdict.head_hash,
        broken_at=verdict.broken_at,
        problem=verdict.problem,
    )


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        seq=row["seq"],
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        subject=row["subject"],
        details=row["details"],
        previous=row["previous"],
        hash=row["hash"],
    )


@asynccontextmanager
async def _reading(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """One snapshot of one tenant's rows."""
    with translating():
        async with (
            pool.acquire(timeout=_ACQUIRE_CAP_S) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute("select set_config('plimsoll.audit_tenant', $1, true)", tenant)
            yield connection
