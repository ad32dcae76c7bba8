"""A Redis server of a test's own, for what would disturb the others on the shared one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from plimsoll_devstack.parts import until_ready
from plimsoll_devstack.processes import Child
from plimsoll_devstack.servers import configure, server_parts

USER = "test"


@asynccontextmanager
async def own_redis(directory: Path) -> AsyncIterator[str]:
    """The URL of a server that runs."""
    servers = configure(directory, durable=False, guests=(USER,))
    part = next(part for part in server_parts(servers) if part.name == "redis")
    child = Child(part.prepare())
    try:
        async with asyncio.timeout(20):
            await until_ready(part, child)
        yield servers.redis.url(USER)
    finally:
        await child.stop()
