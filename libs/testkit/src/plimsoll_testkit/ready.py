"""What the servers' host tells the workers of a pytest run: how to reach the servers, and as whom."""

from dataclasses import dataclass
from pathlib import Path

import orjson

GUESTS = tuple(f"test_{number}" for number in range(32))
"""One user per xdist worker: a NATS account and a Redis database of its own."""

TEMPLATE = "test_template"
READY = "ready.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """How the workers reach the servers: for the superuser, and for each guest by its number."""

    postgres: str
    guests_postgres: tuple[str, ...]
    guests_nats: tuple[str, ...]
    guests_redis: tuple[str, ...]


def read_ready(directory: Path) -> Ready | None:
    """What the host wrote once everything was ready."""
    try:
        stored = orjson.loads((directory / READY).read_bytes())
    except FileNotFoundError:
        return None
    return Ready(
        postgres=stored["postgres"],
        guests_postgres=tuple(stored["guests_postgres"]),
        guests_nats=tuple(stored["guests_nats"]),
        guests_redis=tuple(stored["guests_redis"]),
    )
