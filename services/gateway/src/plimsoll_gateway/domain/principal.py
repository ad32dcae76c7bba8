"""API keys and who they stand for.

A key reads `plk_<id>_<secret>`: the id finds its row, the secret proves it. Only the digest of the whole is kept; a secret
of 256 random bits needs no slow hash.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime

from plimsoll_gateway.domain.scopes import ANYBODY, FACADE, NEEDED, ROLES, Scope
from plimsoll_gateway.errors import ExpiredKey, RevokedKey, ScopeMissing, UnknownKey

ID_PREFIX = "key"
BOOTSTRAP = "bootstrap"
"""Who made the first key of all. It may do everything, also what became possible after it was made."""

_KEY = re.compile(r"plk_(?P<id>[0-9A-Za-z]{1,40})_[0-9A-Za-z_-]{43}", re.ASCII)
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody known: a key, the tenant that it works for, and what it may do."""

    key_id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """How records name it, for people and for good: `console (key_01…)`."""
        return f"{self.name} ({self.key_id})"

    def must_have(self, method: str) -> None:
        """Raises ScopeMissing when the key may not call `method`."""
        if method in ANYBODY:
            return
        needed = NEEDED.get(method) or FACADE.get(method)
        if needed is None or needed not in self.scopes:
            raise ScopeMissing(
                f"the key {self.name!r} may not call {method}",
                remedy=f"use a key with the scope {needed}" if needed else "this method is open to no key",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is kept of a key.

    created_by    who made it: `bootstrap`, `command`, or somebody by name and id
    replaces      the key that this one came after by rotation
    last_used_at  some seconds late
    """

    key_id: str
    tenant: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaces: str = ""
    last_used_at: datetime | None = None

    @property
    def granted(self) -> frozenset[Scope]:
        """What it may do; the first key of all may also do what became possible after it was made."""
        return ROLES["admin"] if self.created_by == BOOTSTRAP else self.scopes


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A key that somebody showed: the row it claims, and its digest."""

    key_id: str
    digest: bytes


def key_text(key_id: str, secret: str) -> str:
    """The key as its holder gets it, once."""
    return f"plk_{key_id.removeprefix(ID_PREFIX + '_')}_{secret}"


def key_digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def read_key(text: str) -> PresentedKey | None:
    """A key by its text; None when it cannot be one."""
    shape = _KEY.fullmatch(text)
    return PresentedKey(f"{ID_PREFIX}_{shape['id']}", key_digest(text)) if shape else None


def identify(presented: PresentedKey, record: KeyRecord | None, now: datetime) -> Principal:
    """Who shows the key, compared in constant time. Raises UnknownKey, RevokedKey or ExpiredKey."""
    same = hmac.compare_digest(presented.digest, record.digest if record else _NO_DIGEST)
    if record is None or not same:
        raise UnknownKey(remedy="check the key; a new one is made with: python -m plimsoll_gateway keys create")
    if record.revoked_at is not None and record.revoked_at <= now:
        raise RevokedKey(f"the API key {record.key_id} was revoked at {record.revoked_at:%Y-%m-%dT%H:%M:%SZ}", remedy="use another key")
    if record.expires_at is not None and record.expires_at <= now:
        raise ExpiredKey(f"the API key {record.key_id} expired at {record.expires_at:%Y-%m-%dT%H:%M:%SZ}", remedy="use another key")
    return Principal(key_id=record.key_id, name=record.name, tenant=record.tenant, scopes=record.granted)
