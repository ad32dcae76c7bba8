"""The fault point within the driver of Redis: a class that takes the place of the driver's own when faults are enabled."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from plimsoll_runtime.faults.injection import through
from plimsoll_runtime.faults.plan import Edge


class FaultyRedis(Redis):
    """A client of Redis whose commands meet faults; the operation is the command."""

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:  # the driver's own signature
        name = str(arguments[0]).lower() if arguments else ""
        return await through(
            Edge.REDIS,
            name,
            lambda: super(FaultyRedis, self).execute_command(*arguments, **options),  # type: ignore[no-untyped-call]
            away=lambda: RedisConnectionError("the connection was cut (a fault on demand)"),
        )
