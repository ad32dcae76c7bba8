"""Tokens of an identity provider: only what it signed, for us, now, with an algorithm of ours, makes somebody of its bearer."""

import base64
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from gateway_door import Door, Wish, open_door
from gateway_issuer import AUDIENCE, Issuer, forged
from plimsoll_gateway.adapters.oidc import OidcTokens
from plimsoll_gateway.config import JwtSettings
from plimsoll_gateway.domain.scopes import ROLES
from plimsoll_gateway.errors import BadToken, ExpiredToken, UnknownKey
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.clock import FakeClock


@pytest.fixture
async def issuer():
    issuer = Issuer()
    async with issuer.served():
        issuer.make_key("k1")
        yield issuer


@pytest.fixture
async def tokens(issuer: Issuer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch):
    class Now:
        @staticmethod
        def now(tz: object = None) -> object:
            return clock.now()

    monkeypatch.setattr(jwt.api_jwt, "datetime", Now)  # the library reads the wall clock itself
    settings = JwtSettings(issuer=issuer.url, audience=AUDIENCE)
    async with OidcTokens.opened(settings, clock, logs.get("test")) as opened:
        yield opened


def now(clock: FakeClock) -> float:
    return clock.now().timestamp()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_is_its_bearer(issuer: Issuer, tokens: OidcTokens, clock: FakeClock, algorithm: str):
    issuer.make_key("k2", algorithm)
    principal = await tokens.judge(issuer.token("k2", algorithm, at=now(clock), name="Ann", roles=["operator", "staff"]))
    assert (principal.tenant, principal.actor, principal.scopes) == ("acme", "Ann (sub:ann)", ROLES["operator"])


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "ann (key_1"},
        {"nbf": 4e9},
        {"iat": 4e9},
        {"tenant": None},
        {"tenant": "../other"},
        {"tenant": ["acme"]},
    ],
)
async def test_a_token_that_is_not_for_us_and_now_does_not_count(issuer: Issuer, tokens: OidcTokens, clock: FakeClock, claims: dict):
    with pytest.raises(BadToken):
        await tokens.judge(issuer.token("k1", at=now(clock), **claims))


async def test_an_expired_token_is_refused_after_the_leeway_however_well_it_is_known(issuer: Issuer, tokens: OidcTokens, clock: FakeClock):
    token = issuer.token("k1", at=now(clock))
    await tokens.judge(token)
    clock.advance(329)
    await tokens.judge(token)
    clock.advance(2)
    with pytest.raises(ExpiredToken):
        await tokens.judge(token)


async def test_confused_algorithms_do_not_count(issuer: Issuer, tokens: OidcTokens, clock: FakeClock):
    issuer.make_key("rsa", "RS256")
    good = issuer.token("rsa", "RS256", at=now(clock))
    public = issuer.keys["rsa"].public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = good.split(".")[1]
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa"}').decode().rstrip("=") + f".{body}."
    symmetric = jwt.api_jws.PyJWS().encode(base64.urlsafe_b64decode(body + "=="), b"s" * 32, "HS256", headers={"kid": "secret"})
    for bad in (
        unsigned,
        symmetric,
        forged(good, alg="HS256"),
        forged(good, alg="none"),
        forged(good, alg="ES256"),
        forged(good, alg="RS512"),
        forged(good, kid="k1"),
        forged(good, kid="damaged"),
        forged(good, kid=None),
        forged(good, crit=["exp"]),
        forged(good, jwk={"kty": "oct", "k": "AA"}),
        good[:-8] + "AAAAAAAA",
    ):
        with pytest.raises((BadToken, UnknownKey)):
            await tokens.judge(bad)
    assert public


async def test_a_new_key_is_fetched_once_it_is_named_and_made_up_ones_do_not_make_the_gateway_ask(
    issuer: Issuer, tokens: OidcTokens, clock: FakeClock
):
    await tokens.judge(issuer.token("k1", at=now(clock)))
    assert issuer.asked == 2
    issuer.make_key("k2")
    clock.advance(11)
    await tokens.judge(issuer.token("k2", at=now(clock)))
    assert issuer.asked == 4
    issuer.make_key("unknown")
    token = issuer.token("unknown", at=now(clock))
    del issuer.keys["unknown"]
    for _ in range(20):
        with pytest.raises(BadToken, match="key that the identity provider does not have"):
            await tokens.judge(token)
    assert issuer.asked == 4


async def test_a_key_that_was_taken_back_stops_counting_with_the_next_fetch(issuer: Issuer, tokens: OidcTokens, clock: FakeClock):
    token = issuer.token("k1", at=now(clock), exp=now(clock) + 9e3)
    await tokens.judge(token)
    issuer.keys.clear()
    issuer.make_key("k2")
    clock.advance(601)
    with pytest.raises(BadToken):
        await tokens.judge(token)


async def test_a_provider_that_is_away_leaves_known_keys_and_is_told_apart_from_a_bad_token(
    issuer: Issuer, tokens: OidcTokens, clock: FakeClock
):
    issuer.broken = True
    token = issuer.token("k1", at=now(clock), exp=now(clock) + 9e3)
    with pytest.raises(Unavailable):
        await tokens.judge(token)
    issuer.broken = False
    clock.advance(11)
    await tokens.judge(token)
    issuer.broken = True
    clock.advance(601)
    await tokens.judge(token)


@pytest.mark.parametrize("text", ["a.b.c", "a" * 9000, "....", "e30.e30.e30"])
async def test_what_is_no_token_is_nobody(tokens: OidcTokens, text: str):
    with pytest.raises((UnknownKey, BadToken)):
        await tokens.judge(text)


async def test_a_token_opens_the_door_for_its_tenant_and_scopes(issuer: Issuer, postgres_dsn: str):
    async with open_door(postgres_dsn, Wish(jwt=JwtSettings(issuer=issuer.url, audience=AUDIENCE))) as door:
        token = issuer.token("k1", at=time.time())
        assert await asked(door, token, "GET", "/v1/runs") == 200
        assert door.peers["orchestrator"].heard[0].caller.tenant == "acme"
        assert await asked(door, token, "POST", "/v1/agents/a/runs") == 403
        assert await asked(door, token[:-8] + "AAAAAAAA", "GET", "/v1/runs") == 401
        assert await asked(door, door.key, "GET", "/v1/runs") == 200


async def asked(door: Door, token: str, http: str, path: str) -> int:
    async with door.rest.request(http, path, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status
