"""Secrets never leave a worker process or its output in clear text."""

from collections.abc import Mapping

_MASK = "•••"
_SHORTEST = 4  # shorter ones would blot out ordinary words


def masked(text: str, credentials: Mapping[str, str]) -> str:
    """The text without any of the secrets."""
    for secret in credentials.values():
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _MASK)
    return text
