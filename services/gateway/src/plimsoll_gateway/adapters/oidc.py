"""Tokens of an OpenID Connect provider: its keys found by discovery, kept, and fetched again when a token names a new one."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256

import aiohttp
import jwt
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Invalid, Unavailable
from plimsoll_runtime.json_types import parse_object

from plimsoll_gateway.config import JwtSettings
from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.domain.token import Claims, principal_of
from plimsoll_gateway.errors import BadToken, ExpiredToken, UnknownKey

ALGORITHMS = ("RS256", "ES256", "EdDSA")
_TOKEN_MOST = 8192
_ANSWER_MOST = 1024 * 1024
_FETCH_CAP_S = 5.0
_AGAIN_S = 10.0  # a token that names an unknown key makes the gateway ask again this often and no more
_JUDGED_MOST = 10_000
_JUDGED_FOR_S = 5.0


class NoTokens:
    """No identity provider is set: only API keys count."""

    async def judge(self, text: str) -> Principal:
        raise UnknownKey("this is not an API key", remedy="send the header Authorization: Bearer plk_…")


class OidcTokens:
    """Use `opened`."""

    def __init__(self, settings: JwtSettings, session: aiohttp.ClientSession, clock: Clock, log: logs.Log) -> None:
        self._settings = settings
        self._claims = Claims(tenant=settings.tenant_claim, scopes=settings.scopes_claim, roles=settings.roles_claim)
        self._session = session
        self._clock = clock
        self._log = log
        self._fetching = asyncio.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._judged: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: JwtSettings, clock: Clock, log: logs.Log) -> "AsyncIterator[OidcTokens]":
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FETCH_CAP_S)) as session:
            yield cls(settings, session, clock, log)

    async def judge(self, text: str) -> Principal:
        """Who bears the token; believed for five seconds, and never past its end."""
        kid, algorithm = _header(text)
        digest, now = sha256(text.encode()).digest(), self._clock.monotonic()
        judged = self._judged.get(digest)
        if judged is not None and now < judged[1]:
            return judged[0]
        token = self._verified(text, await self._key(kid, algorithm), algorithm)
        principal = principal_of(token, self._claims)
        left = float(token["exp"]) - self._clock.now().timestamp() if isinstance(token["exp"], int | float) else 0.0
        self._judged[digest] = principal, now + min(_JUDGED_FOR_S, max(0.0, left))
        if len(self._judged) > _JUDGED_MOST:
            self._judged.popitem(last=False)
        return principal

    def _verified(self, text: str, key: jwt.PyJWK, algorithm: str) -> Mapping[str, object]:
        settings = self._settings
        try:
            claims: Mapping[str, object] = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredToken(remedy="get a new one from the identity provider") from error
        except jwt.PyJWTError as error:
            raise BadToken(f"the token does not count: {error}", remedy="get one for this audience from the identity provider") from error
        return claims

    async def _key(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """Raises BadToken for a key that the provider does not have, Unavailable when it has not told its keys."""
        known = self._keys.get(kid)
        if known is None or self._clock.monotonic() - self._fetched_at > self._settings.keys_s:
            await self._refresh(kid)
            known = self._keys.get(kid)
        if known is None:
            if not self._keys:
                raise Unavailable("the identity provider cannot be reached", reason="ISSUER_UNAVAILABLE", retry_after_s=_AGAIN_S)
            raise BadToken("the token is signed with a key that the identity provider does not have", remedy="get a new one")
        if known.algorithm_name != algorithm:  # a key is for one algorithm, whatever the token says
            raise BadToken("the token names another algorithm than its key is for")
        return known

    async def _refresh(self, kid: str) -> None:
        """Fetch the keys, if nobody just did. A provider that is away leaves the keys as they were."""
        async with self._fetching:
            now = self._clock.monotonic()
            fresh = kid in self._keys and now - self._fetched_at <= self._settings.keys_s
            if fresh or now - self._asked_at < _AGAIN_S:
                return
            self._asked_at = now
            try:
                self._keys = await self._fetch()
                self._fetched_at = now
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                self._log.warning("oidc.keys_not_fetched", {"issuer": self._settings.issuer, "error": type(error).__name__})

    async def _fetch(self) -> Mapping[str, jwt.PyJWK]:
        issuer = self._settings.issuer
        document = await self._json(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise ValueError("the discovery document is another issuer's")
        address = str(document.get("jwks_uri", ""))
        if not address.startswith("https://") and not (issuer.startswith("http://") and address.startswith("http://")):
            raise ValueError("the provider's keys are not behind HTTPS")
        told = (await self._json(address)).get("keys")
        return dict(filter(None, map(_usable, told if isinstance(told, list) else [])))

    async def _json(self, address: str) -> Mapping[str, object]:
        async with self._session.get(address, allow_redirects=False) as response:
            response.raise_for_status()
            body = await response.content.read(_ANSWER_MOST)
        try:
            return parse_object(body.decode(), field="document")
        except (Invalid, UnicodeDecodeError) as error:
            raise ValueError("no JSON object") from error


def _header(text: str) -> tuple[str, str]:
    """The key and algorithm that a token names. Raises UnknownKey for what is no token, BadToken for what is none of ours."""
    if len(text) > _TOKEN_MOST or text.count(".") != 2:
        raise UnknownKey("this is neither an API key nor a token")
    try:
        header = jwt.get_unverified_header(text)
    except jwt.PyJWTError as error:
        raise UnknownKey("this is neither an API key nor a token") from error
    kid, algorithm = header.get("kid"), header.get("alg")
    if algorithm not in ALGORITHMS:
        raise BadToken(f"tokens are signed with {', '.join(ALGORITHMS)} here")
    if not isinstance(kid, str) or not kid or "crit" in header:
        raise BadToken("the token names no key")
    return kid, str(algorithm)


def _usable(told: object) -> tuple[str, jwt.PyJWK] | None:
    """A key that signs with one of our algorithms; secrets, encryption keys and what cannot be read are left out."""
    if not isinstance(told, dict) or not isinstance(told.get("kid"), str) or told.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(told)
    except (jwt.PyJWTError, ValueError):
        return None
    return (str(told["kid"]), key) if key.algorithm_name in ALGORITHMS else None
