"""Redis: the connection, and its errors as ours."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.settings import RedisSettings


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[Redis]:
    """A pooled connection; connects when first used."""
    client = Redis.from_url(settings.url.reveal(), socket_timeout=2.0, socket_connect_timeout=2.0, max_connections=32)
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def translating() -> Iterator[None]:
    """Turn the driver's errors inside the block into Unavailable."""
    try:
        yield
    except RedisError as error:
        raise Unavailable("Redis cannot be reached", reason="REDIS_UNAVAILABLE", retry_after_s=1.0) from error
