"""What a token of an identity provider says, and whom it makes of its bearer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.domain.scopes import ROLES, Scope
from plimsoll_gateway.errors import BadToken

TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_SUBJECT = re.compile(r"[^\s()]{1,200}")  # records name people as `name (id)`: neither part may pose as the other
_NAME = re.compile(r"[^()]{1,200}")
_WORDS = {scope.value: frozenset({scope}) for scope in Scope} | dict(ROLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Which claims say what. Scopes and roles may stand in either of theirs; words that are neither are somebody else's."""

    tenant: str
    scopes: str
    roles: str
    name: str = "name"


def principal_of(token: Mapping[str, object], claims: Claims) -> Principal:
    """The bearer. Raises BadToken when the token names no tenant or subject."""
    tenant, subject = token.get(claims.tenant), token.get("sub")
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
        raise BadToken(f"the claim {claims.tenant!r} names no tenant", remedy="have the identity provider add it")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or not subject.isprintable():
        raise BadToken("the claim 'sub' names nobody that can be written down", remedy="have the identity provider change it")
    words = {word for claim in (claims.scopes, claims.roles) for word in _words(token.get(claim))}
    scopes: frozenset[Scope] = frozenset().union(*(_WORDS[word] for word in words if word in _WORDS))
    name = token.get(claims.name)
    shown = name if isinstance(name, str) and _NAME.fullmatch(name) and name.isprintable() else subject
    return Principal(key_id=f"sub:{subject}", name=shown, tenant=tenant, scopes=scopes)


def _words(claim: object) -> list[str]:
    """A claim is a list, or one text with spaces between its words (RFC 8693)."""
    if isinstance(claim, str):
        return claim.split()
    return [one for one in claim if isinstance(one, str)] if isinstance(claim, list) else []
