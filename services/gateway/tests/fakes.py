"""Stand-ins for what the gateway needs from outside, in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from plimsoll_gateway.domain.principal import KeyRecord
from plimsoll_gateway.domain.repeat import RequestKey
from plimsoll_gateway.domain.scopes import ROLES
from plimsoll_gateway.ports import Answered, Beginning, Begun, OtherRequest, UnderWay
from plimsoll_runtime.audit import AuditEntry, AuditRecord
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Conflict, Unavailable
from plimsoll_runtime.json_types import canonical


class FakeKeyStore:
    """Keys in a dictionary; counts look-ups."""

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._told: list[AuditRecord] = []
        self.lookups = 0

    async def find(self, key_id: str) -> KeyRecord | None:
        self.lookups += 1
        return self._records.get(key_id)

    async def add(self, record: KeyRecord, told: AuditRecord) -> None:
        if record.key_id in self._records:
            raise Conflict
        self._records[record.key_id] = record
        self._tell(told)

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        if self._records:
            return False
        before_commit()
        self._records[record.key_id] = record
        return True

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        mine = [record for record in self._records.values() if record.tenant == tenant]
        return sorted(mine, key=lambda record: (record.created_at, record.key_id))

    async def of_id(self, tenant: str, key_id: str) -> KeyRecord | None:
        record = self._records.get(key_id)
        return record if record is not None and record.tenant == tenant else None

    async def replace(self, old: KeyRecord, old_until: datetime, new: KeyRecord, told: AuditRecord) -> KeyRecord | None:
        record = await self.of_id(old.tenant, old.key_id)
        if record is None or record.revoked_at is not None:
            return None
        self._records[old.key_id] = replace(record, expires_at=min(record.expires_at or old_until, old_until))
        self._records[new.key_id] = new
        self._tell(told)
        return self._records[old.key_id]

    async def revoke(self, tenant: str, key_id: str, at: datetime, told: AuditRecord) -> KeyRecord | None:
        record = await self.of_id(tenant, key_id)
        if record is None or record.revoked_at is not None:
            return record
        self._records[key_id] = replace(record, revoked_at=at)
        self._tell(told)
        return self._records[key_id]

    async def events(self, tenant: str, before: int, limit: int) -> Sequence[AuditEntry]:
        mine = [one for one in self._told if one.tenant == tenant]
        entries = [
            AuditEntry(
                seq=seq,
                at=datetime(2026, 1, 1, tzinfo=UTC),
                actor=one.actor,
                action=one.action,
                subject=one.subject,
                details=canonical(one.details),
                previous="",
                hash="",
            )
            for seq, one in enumerate(mine, 1)
        ]
        return [entry for entry in reversed(entries) if not before or entry.seq < before][:limit]

    def _tell(self, told: AuditRecord) -> None:
        self._told.append(told)


class FakeKeyFile:
    """A file that is a string; `broken` makes writing fail."""

    def __init__(self, text: str | None = None, *, broken: Exception | None = None) -> None:
        self.text = text
        self._broken = broken

    @property
    def path(self) -> str:
        return "/keys/first"

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        if self._broken is not None:
            raise self._broken
        self.text = text


def key_record(key_id: str, digest: bytes, at: datetime, *, tenant: str = "acme", expires_at: datetime | None = None) -> KeyRecord:
    """A key with every scope."""
    return KeyRecord(
        key_id=key_id,
        tenant=tenant,
        name="console",
        digest=digest,
        scopes=ROLES["admin"],
        created_at=at,
        created_by="command",
        expires_at=expires_at,
    )


@dataclass(slots=True)
class _Kept:
    fingerprint: bytes
    attempt: str
    leased_until: float
    answer: bytes | None = None


class FakeRequestLedger:
    """Requests in a dictionary; `away` makes every call fail."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], _Kept] = {}
        self.away = False

    async def begin(self, key: RequestKey, attempt: str, lease_s: float) -> Beginning:
        self._must_be_there()
        now = self._clock.monotonic()
        row = self._rows.get((key.tenant, key.key))
        if row is None or (row.answer is None and row.leased_until < now and row.fingerprint == key.fingerprint):
            self._rows[key.tenant, key.key] = _Kept(key.fingerprint, attempt, now + lease_s)
            return Begun()
        if row.fingerprint != key.fingerprint:
            return OtherRequest()
        return UnderWay() if row.answer is None else Answered(row.answer)

    async def hold(self, key: RequestKey, attempt: str, lease_s: float) -> None:
        self._must_be_there()
        row = self._rows.get((key.tenant, key.key))
        if row is not None and row.attempt == attempt:
            row.leased_until = self._clock.monotonic() + lease_s

    async def answer(self, key: RequestKey, attempt: str, answer: bytes) -> None:
        self._must_be_there()
        row = self._rows.get((key.tenant, key.key))
        if row is not None and row.attempt == attempt:
            row.answer = answer

    async def let_go(self, key: RequestKey, attempt: str) -> None:
        self._must_be_there()
        row = self._rows.get((key.tenant, key.key))
        if row is not None and row.attempt == attempt and row.answer is None:
            del self._rows[key.tenant, key.key]

    async def forget_old(self) -> int:
        self._must_be_there()
        return 0

    def _must_be_there(self) -> None:
        if self.away:
            raise Unavailable(reason="DATABASE_UNAVAILABLE")
