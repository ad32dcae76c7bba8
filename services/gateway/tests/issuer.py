"""An OpenID Connect provider as far as the gateway sees one: discovery, keys, and tokens that a test has it sign."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "plimsoll"


@dataclass(slots=True)
class Issuer:
    """`keys` are those that it tells; `asked` counts how often. `broken` makes it answer 500."""

    url: str = ""
    keys: dict[str, object] = field(default_factory=dict)
    asked: int = 0
    broken: bool = False

    def make_key(self, kid: str, algorithm: str = "ES256") -> None:
        makers = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.keys[kid] = makers[algorithm]()

    def token(self, kid: str, algorithm: str = "ES256", *, at: float, **claims: object) -> str:
        body = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "tenant": "acme", "scope": "openid viewer", "iat": at, "exp": at + 300}
        body = {name: value for name, value in (body | claims).items() if value is not None}
        return jwt.encode(body, self.keys[kid], algorithm=algorithm, headers={"kid": kid})

    def public(self) -> list[dict[str, object]]:
        algorithms = jwt.algorithms.get_default_algorithms()
        told = []
        for kid, key in self.keys.items():
            name = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256"}
            algorithm = next((one for kind, one in name.items() if isinstance(key, kind)), "EdDSA")
            told.append({**algorithms[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"})
        secret = base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")
        return [*told, {"kty": "oct", "kid": "secret", "k": secret}, {"kty": "RSA", "kid": "damaged"}]

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            self.asked += 1
            if self.broken:
                return web.Response(status=500)
            if request.path == "/.well-known/openid-configuration":
                return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
            return web.json_response({"keys": self.public()})

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


def forged(token: str, **header: object) -> str:
    """The token with another header, under the signature that it has."""
    old, body, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(old + "==")) | header
    text = base64.urlsafe_b64encode(json.dumps({k: v for k, v in changed.items() if v is not None}).encode()).decode().rstrip("=")
    return f"{text}.{body}.{signature}"
