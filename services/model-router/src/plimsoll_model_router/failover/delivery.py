"""For callers that cannot take back what they heard: an attempt's pieces are held until its verified end."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from plimsoll_model_router.domain.generation import Answer, Outcome, Progress


async def buffered(steps: AsyncGenerator[Progress | Outcome, None]) -> AsyncGenerator[Progress | Outcome, None]:
    """The pieces of the attempt that answered, then the answer; of a failure nothing but itself."""
    held: list[Progress] = []
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Progress):
                if held and held[0].attempt != step.attempt:
                    held.clear()
                held.append(step)
                continue
            if isinstance(step, Answer):
                for piece in held:
                    yield piece
            yield step
