"""The registry in PostgreSQL: versions are inserted once and never updated, labels are moved, and every move is kept."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.postgres import translating

from plimsoll_model_router.adapters.tenancy import working_for
from plimsoll_model_router.domain import entries
from plimsoll_model_router.domain.entries import Content, Entry, Kind
from plimsoll_model_router.domain.labels import NOWHERE, EntryReference, Grounds, Move
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion
from plimsoll_model_router.domain.registry_cache import Moved
from plimsoll_model_router.errors import LabelMoved, UnknownEntry, UnknownPrompt

_COLUMNS = """
    v.kind, v.name, v.version, v.digest, v.description, v.content, v.created_at, v.created_by,
    array(select l.label from labels l
        where (l.tenant, l.kind, l.name, l.version) = (v.tenant, v.kind, v.name, v.version) order by l.label) as labels
"""
_BY_LABEL = f"""
    select {_COLUMNS} from labels wanted join versions v using (tenant, kind, name, version)
    where wanted.tenant = $1 and wanted.kind = $2 and wanted.name = $3 and wanted.label = $4
"""
_LABELLED = f"""
    select {_COLUMNS} from labels wanted join versions v using (tenant, kind, name, version)
    where wanted.tenant = $1 and wanted.kind = $2 and wanted.label = $3 order by v.name
"""
_BY_VERSION = f"select {_COLUMNS} from versions v where v.tenant = $1 and v.kind = $2 and v.name = $3 and v.version = $4"
_BY_DIGEST = f"select {_COLUMNS} from versions v where v.tenant = $1 and v.kind = $2 and v.name = $3 and v.digest = $4"
_NEWEST = f"""
    select distinct on (v.name) {_COLUMNS} from versions v
    where v.tenant = $1 and v.kind = $2 and v.name > $3 order by v.name, v.version desc limit $4
"""
_VERSIONS = f"""
    select {_COLUMNS} from versions v
    where v.tenant = $1 and v.kind = $2 and v.name = $3 and ($4 = 0 or v.version < $4) order by v.version desc limit $5
"""
_INSERT = """
    insert into versions (tenant, kind, name, version, digest, description, content, created_by, created_at)
    values ($1, $2, $3, (select coalesce(max(version), 0) + 1 from versions where tenant = $1 and kind = $2 and name = $3), $4, $5, $6, $7, $8)
"""
_PLACE = """
    insert into labels (tenant, kind, name, label, version, moved_at) values ($1, $2, $3, $4, $5, $6)
    on conflict (tenant, kind, name, label) do update set version = excluded.version, moved_at = excluded.moved_at
"""
_MOVE = """
    insert into label_moves (tenant, kind, name, label, from_version, to_version, grounds, report_digest, reason, moved_by, moved_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning *
"""
_MOVES = """
    select * from label_moves where tenant = $1 and kind = $2 and ($3 = '' or name = $3) and ($4 = '' or label = $4)
    and ($5 = 0 or position < $5) order by position desc limit $6
"""


class PostgresRegistryStore:
    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def register(self, tenant: str, content: Content, by: str) -> tuple[Entry, bool]:
        """Registrations of one name follow one another, so that versions have no gap and no twin."""
        kind, name, digest = entries.kind_of(content), content.name, entries.digest_of(content)
        async with working_for(self._pool, tenant) as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"{kind} {tenant} {name}")
            row = await connection.fetchrow(_BY_DIGEST, tenant, kind, name, digest)
            created = row is None
            if created:
                told = content.description, entries.to_plain(content), by, self._clock.now()
                await connection.execute(_INSERT, tenant, kind, name, digest, *told)
                row = await connection.fetchrow(_BY_DIGEST, tenant, kind, name, digest)
        return _entry(row), created

    async def get(self, tenant: str, reference: EntryReference) -> Entry:
        kind, name = reference.kind, reference.name
        async with working_for(self._pool, tenant) as connection:
            match reference.selector:
                case ByLabel(label=label):
                    row = await connection.fetchrow(_BY_LABEL, tenant, kind, name, label)
                case ByVersion(version=version):
                    row = await connection.fetchrow(_BY_VERSION, tenant, kind, name, version)
                case ByDigest(digest=digest):
                    row = await connection.fetchrow(_BY_DIGEST, tenant, kind, name, digest)
        if row is None:
            raise unknown(reference)
        return _entry(row)

    async def labelled(self, tenant: str, kind: Kind, label: str) -> Sequence[Entry]:
        async with working_for(self._pool, tenant) as connection:
            return [_entry(row) for row in await connection.fetch(_LABELLED, tenant, kind, label)]

    async def newest(self, tenant: str, kind: Kind, after: str, limit: int) -> Sequence[Entry]:
        async with working_for(self._pool, tenant) as connection:
            return [_entry(row) for row in await connection.fetch(_NEWEST, tenant, kind, after, limit)]

    async def versions(self, tenant: str, kind: Kind, name: str, before: int, limit: int) -> Sequence[Entry]:
        async with working_for(self._pool, tenant) as connection:
            return [_entry(row) for row in await connection.fetch(_VERSIONS, tenant, kind, name, before, limit)]

    async def move(self, tenant: str, move: Move, *, audited: bool = False) -> Move:
        """One move at a time in the whole schema: positions are then committed in their order, and no replica misses one."""
        now, key = self._clock.now(), (tenant, move.kind, move.name, move.label)
        async with working_for(self._pool, tenant) as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtextextended('label moves', 0))")
            present = await connection.fetchval(
                "select version from labels where tenant = $1 and kind = $2 and name = $3 and label = $4", *key
            )
            if (present or NOWHERE) != move.from_version:
                raise LabelMoved(remedy="look where the label is now, and decide again")
            await connection.execute(_PLACE, *key, move.to_version, now)
            row = await connection.fetchrow(
                _MOVE, *key, move.from_version, move.to_version, move.grounds, move.report_digest, move.reason, move.moved_by, now
            )
            if audited:
                await audit.append(connection, [_audit_record(tenant, move)])
        return _move(row)

    async def moves(self, tenant: str, kind: Kind, name: str, label: str, before: int, limit: int) -> Sequence[Move]:
        async with working_for(self._pool, tenant) as connection:
            return [_move(row) for row in await connection.fetch(_MOVES, tenant, kind, name, label, before, limit)]

    async def moved_since(self, position: int) -> Sequence[Moved]:
        """What moved behind a position, of all tenants."""
        with translating():
            rows = await self._pool.fetch("select * from moves_since($1)", position)
        return [Moved(position=row["position"], tenant=row["tenant"], kind=Kind(row["kind"]), name=row["name"]) for row in rows]

    async def last_move(self) -> int:
        """The position of the last move of all."""
        with translating():
            return int(await self._pool.fetchval("select last_move()"))


def unknown(reference: EntryReference) -> UnknownPrompt | UnknownEntry:
    """The error for a version that does not exist."""
    match reference.selector:
        case ByLabel(label=told):
            pass
        case ByVersion(version=version):
            told = str(version)
        case ByDigest(digest=digest):
            told = f"sha256:{digest[:12]}"
    remedy = "register it, or name a version or label that exists"
    problem = FieldProblem(str(reference.kind), f"{reference.name}@{told} does not exist", remedy)
    return UnknownPrompt(problems=(problem,)) if reference.kind is Kind.PROMPT else UnknownEntry(problems=(problem,))


def _audit_record(tenant: str, move: Move) -> AuditRecord:
    return AuditRecord(
        tenant=tenant,
        actor=move.moved_by,
        action="label.overridden" if move.grounds is Grounds.OVERRIDE else "label.moved",
        subject=f"{move.kind}:{move.name}@{move.label}",
        details={
            "from_version": move.from_version,
            "to_version": move.to_version,
            "grounds": move.grounds.value,
            "report_digest": move.report_digest,
            "reason": move.reason,
        },
    )


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        content=entries.from_plain(Kind(row["kind"]), row["name"], row["description"], row["content"]),
        version=row["version"],
        digest=row["digest"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        labels=tuple(row["labels"]),
    )


def _move(row: asyncpg.Record) -> Move:
    return Move(
        kind=Kind(row["kind"]),
        name=row["name"],
        label=row["label"],
        from_version=row["from_version"],
        to_version=row["to_version"],
        grounds=Grounds(row["grounds"]),
        report_digest=row["report_digest"],
        reason=row["reason"],
        moved_by=row["moved_by"],
        moved_at=row["moved_at"],
        position=row["position"],
    )
