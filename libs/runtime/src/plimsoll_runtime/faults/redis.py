"""The fault point within the driver of Redis: classes that take the place of the driver's own when faults are enabled."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
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
            away=_cut,
        )

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "FaultyPipeline":
        return FaultyPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class FaultyPipeline(Pipeline):
    """Commands that go out together meet one fault together; the operation is the first of them."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack = self.command_stack
        name = str(stack[0][0][0]).lower() if stack else ""
        return await through(Edge.REDIS, name, lambda: super(FaultyPipeline, self).execute(raise_on_error), away=_cut)


def _cut() -> Exception:
    return RedisConnectionError("the connection was cut (a fault on demand)")
