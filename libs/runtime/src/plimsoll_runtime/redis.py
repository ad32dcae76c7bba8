"""Redis: the connection, and its errors as ours."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from plimsoll_runtime.errors import Internal, Unavailable
from plimsoll_runtime.faults import are_possible
from plimsoll_runtime.faults.redis import FaultyRedis
from plimsoll_runtime.settings import InvalidSettings, RedisSettings

_CONNECTIONS = 32
_CAP_S = 2.0  # to connect, to be answered, and to wait for a free connection


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncIterator[Redis]:
    """A pooled connection; connects when first used. Raises InvalidSettings when the URL makes no sense."""
    try:
        pool = BlockingConnectionPool.from_url(
            settings.url.reveal(),
            max_connections=_CONNECTIONS,
            timeout=_CAP_S,
            socket_timeout=_CAP_S,
            socket_connect_timeout=_CAP_S,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that the server had closed; who has time to wait knows better how long
        )
    except ValueError:  # not from it: it quotes what it could not read, and that may be a part of the password
        raise InvalidSettings("REDIS_URL is not a URL that makes sense", remedy="escape @ : / ? # and % in the password") from None
    client = FaultyRedis.from_pool(pool) if are_possible() else Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def translating() -> Iterator[None]:
    """Turn the driver's errors inside the block into Unavailable, or Internal for a command that Redis refuses."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError) as error:
        raise Unavailable("Redis cannot be reached", reason="REDIS_UNAVAILABLE", retry_after_s=1.0) from error
    except RedisError as error:
        raise Internal("Redis refused a command", reason="REDIS_ERROR") from error
