"""Stand-ins for what the gateway needs from outside, in memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from plimsoll_gateway.domain.principal import KeyRecord
from plimsoll_gateway.domain.scopes import ROLES
from plimsoll_runtime.errors import Conflict


class FakeKeyStore:
    """Keys in a dictionary; counts look-ups."""

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        self.lookups = 0

    async def find(self, key_id: str) -> KeyRecord | None:
        self.lookups += 1
        return self._records.get(key_id)

    async def add(self, record: KeyRecord) -> None:
        if record.key_id in self._records:
            raise Conflict
        self._records[record.key_id] = record

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        if self._records:
            return False
        before_commit()
        self._records[record.key_id] = record
        return True

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        mine = [record for record in self._records.values() if record.tenant == tenant]
        return sorted(mine, key=lambda record: (record.created_at, record.key_id))

    async def revoke(self, tenant: str, key_id: str, at: datetime) -> KeyRecord | None:
        record = self._records.get(key_id)
        if record is None or record.tenant != tenant:
            return None
        self._records[key_id] = replace(record, revoked_at=record.revoked_at or at)
        return self._records[key_id]


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
