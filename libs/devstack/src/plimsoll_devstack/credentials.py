"""The generated passwords of one data directory; they never leave it."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import orjson

from plimsoll_devstack.errors import OtherVersion
from plimsoll_devstack.files import write_private


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """Passwords by user, per server. Not printable on purpose."""

    postgres: dict[str, str]
    nats: dict[str, str]
    redis: dict[str, str]


def load_or_create(path: Path, *, postgres: tuple[str, ...], nats: tuple[str, ...], redis: tuple[str, ...]) -> Credentials:
    """Read the credentials kept at `path`, adding a password for each user that has none yet."""
    stored = _read(path)
    wanted = {"postgres": postgres, "nats": nats, "redis": redis}
    complete = {server: {user: secrets.token_urlsafe(24) for user in users} | stored.get(server, {}) for server, users in wanted.items()}
    if complete != stored:
        write_private(path, orjson.dumps(complete, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
    return Credentials(postgres=complete["postgres"], nats=complete["nats"], redis=complete["redis"])


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        stored = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as error:
        raise OtherVersion(
            f"{path} is damaged: {error}", remedy="Restore it from a copy, or move the data directory away to begin a new one"
        ) from error
    if not isinstance(stored, dict):
        raise OtherVersion(f"{path} is not a credentials file", remedy="Restore it from a copy, or move the data directory away")
    return {
        str(server): {str(user): str(password) for user, password in users.items()}
        for server, users in stored.items()
        if isinstance(users, dict)
    }
