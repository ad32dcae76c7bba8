"""A request that a client may repeat under an idempotency key, and the seal on its answer.

What is stored names the key by a digest and holds the answer sealed under the key itself: answers may tell secrets, such as a new API
key or the secret of a webhook, and whoever reads the database reads none of them. Only who knows the idempotency key can ask again.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """`key` stands for the idempotency key, `fingerprint` for what is asked; `seal` is kept nowhere."""

    tenant: str
    key: str
    fingerprint: bytes
    seal: bytes = field(default=bytes(32), repr=False)

    def sealed(self, answer: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self.seal).encrypt(nonce, answer, self.fingerprint)

    def opened(self, sealed: bytes) -> bytes:
        """Raises InvalidTag when it is not what was sealed."""
        return AESGCM(self.seal).decrypt(sealed[:_NONCE], sealed[_NONCE:], self.fingerprint)


def request_key(tenant: str, text: str, method: str, request: bytes) -> RequestKey:
    """`text` is the idempotency key, `request` what is asked of `method`."""
    return RequestKey(
        tenant=tenant,
        key=hashlib.sha256(f"{tenant}\0{text}".encode()).hexdigest(),
        fingerprint=hashlib.sha256(method.encode() + b"\0" + request).digest(),
        seal=hmac.digest(text.encode(), f"plimsoll answer\0{tenant}".encode(), "sha256"),
    )
