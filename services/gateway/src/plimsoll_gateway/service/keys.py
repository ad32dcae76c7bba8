"""Making, listing and revoking API keys, and the first key of all."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from plimsoll_runtime import logs
from plimsoll_runtime.audit import AuditEntry, AuditRecord
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject

from plimsoll_gateway.domain.principal import BOOTSTRAP, ID_PREFIX, KeyRecord, key_digest, key_text, read_key
from plimsoll_gateway.domain.scopes import ROLES, Scope
from plimsoll_gateway.errors import KeyNotFound, KeyOver
from plimsoll_gateway.ports import KeyFile, KeyStore

COMMAND = "command"
OVERLAP = timedelta(days=1)
_OVERLAP_MOST = timedelta(days=30)
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,62}", re.ASCII)
_AGAIN = "make a new key: python -m plimsoll_gateway keys create --tenant TENANT --name NAME --scopes admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made. `text` exists here and nowhere else."""

    text: str
    record: KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """What a key shall be, and who wants it."""

    tenant: str
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    by: str = COMMAND


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A key just made, and the one it comes after as that is now."""

    new: NewKey
    old: KeyRecord


class KeyRing:
    """The API keys of all tenants, for those who administer the gateway."""

    def __init__(self, keys: KeyStore, clock: Clock, ids: Ids, new_secret: Callable[[], str], log: logs.Log) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._new_secret = new_secret
        self._log = log

    async def create(self, request: KeyRequest) -> NewKey:
        """Make a key. Raises Invalid for a tenant, name or time that cannot be."""
        new = self._make(request, created_by=request.by)
        await self._keys.add(new.record, _told("key.created", new.record, request.by))
        return new

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        """The tenant's keys, oldest first."""
        return await self._keys.of_tenant(tenant)

    async def of_id(self, tenant: str, key_id: str) -> KeyRecord:
        """Raises KeyNotFound."""
        record = await self._keys.of_id(tenant, key_id)
        if record is None:
            raise _unknown(tenant, key_id)
        return record

    async def rotate(self, tenant: str, key_id: str, by: str, overlap: timedelta = OVERLAP) -> Rotated:
        """Make a successor with the same name, scopes and life; the old key works on for `overlap`.

        Raises KeyNotFound, KeyOver for one that does not work any more, Invalid for an overlap that cannot be.
        """
        if not timedelta(0) <= overlap <= _OVERLAP_MOST:
            raise Invalid(
                problems=(FieldProblem("overlap", "is negative or above 30 days", "give up to 720h"),), reason="INVALID_KEY_REQUEST"
            )
        old, now = await self.of_id(tenant, key_id), self._clock.now()
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise KeyOver(remedy="make a new key")
        life = old.expires_at - old.created_at if old.expires_at else None
        request = KeyRequest(tenant=tenant, name=old.name, scopes=old.granted, expires_at=now + life if life else None, by=by)
        new = self._make(request, created_by=by, replaces=old.key_id)
        told = _told("key.rotated", new.record, by)
        replaced = await self._keys.replace(old, now + overlap, new.record, told)
        if replaced is None:
            raise KeyOver(remedy="make a new key")
        return Rotated(new=new, old=replaced)

    async def revoke(self, tenant: str, key_id: str, by: str = COMMAND) -> KeyRecord:
        """Take a key back; every replica refuses it within five seconds. Raises KeyNotFound."""
        told = AuditRecord(tenant=tenant, actor=by, action="key.revoked", subject=f"key:{key_id}")
        revoked = await self._keys.revoke(tenant, key_id, self._clock.now(), told)
        if revoked is None:
            raise _unknown(tenant, key_id)
        return revoked

    async def events(self, tenant: str, before: int, limit: int) -> Sequence[AuditEntry]:
        """What was done with the tenant's keys, newest first."""
        return await self._keys.events(tenant, before, limit)

    async def bootstrap(self, file: KeyFile, tenant: str) -> None:
        """Make the first key of all, for `tenant` and with every scope, into `file`; later starts only look after the file.

        The file is written before its row counts: a crash in between leaves a file without a row, which the next start replaces,
        and never a row whose key nobody has.
        """
        new = self._make(KeyRequest(tenant=tenant, name="first key", scopes=ROLES["admin"]), created_by=BOOTSTRAP)
        if await self._keys.add_first(new.record, lambda: file.write(new.text)):
            self._log.info("key.first_made", {"key_id": new.record.key_id, "tenant": tenant, "file": file.path})
            return
        text = file.read()
        if text is None:
            self._log.warning("key.file_missing", {"file": file.path, "remedy": _AGAIN})
            return
        presented = read_key(text)
        record = await self._keys.find(presented.key_id) if presented else None
        if presented is None or record is None or record.digest != presented.digest:
            self._log.warning("key.file_stale", {"file": file.path, "remedy": _AGAIN})
        elif record.revoked_at is not None:
            self._log.info("key.file_revoked", {"file": file.path, "key_id": record.key_id})

    def _make(self, request: KeyRequest, created_by: str, replaces: str = "") -> NewKey:
        now = self._clock.now()
        problems = []
        if not _TENANT.fullmatch(request.tenant):
            problems.append(FieldProblem("tenant", f"{request.tenant!r} is no tenant", "use a-z, 0-9 and -, 63 characters at most"))
        if not _NAME.fullmatch(request.name):
            problems.append(
                FieldProblem("name", f"{request.name!r} is no name", "use letters, digits, spaces and ._@-, 63 characters at most")
            )
        if request.expires_at is not None and request.expires_at <= now:
            problems.append(FieldProblem("expires", "lies in the past", "give a time to come"))
        if problems:
            raise Invalid(problems=problems, reason="INVALID_KEY_REQUEST")
        key_id = self._ids.new(ID_PREFIX)
        text = key_text(key_id, self._new_secret())
        return NewKey(
            text=text,
            record=KeyRecord(
                key_id=key_id,
                tenant=request.tenant,
                name=request.name,
                digest=key_digest(text),
                scopes=request.scopes,
                created_at=now,
                created_by=created_by,
                expires_at=request.expires_at,
                replaces=replaces,
            ),
        )


def _told(action: str, record: KeyRecord, by: str) -> AuditRecord:
    scopes: JsonObject = {"name": record.name, "scopes": [str(scope) for scope in sorted(record.scopes)]}
    if record.replaces:
        scopes["replaces"] = record.replaces
    return AuditRecord(tenant=record.tenant, actor=by, action=action, subject=f"key:{record.key_id}", details=scopes)


def _unknown(tenant: str, key_id: str) -> KeyNotFound:
    return KeyNotFound(f"tenant {tenant!r} has no key {key_id!r}", remedy="list the keys")
