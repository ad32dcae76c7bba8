"""For callers that cannot take back what they heard: an attempt's pieces are held until its verified end."""

from collections.abc import Awaitable, Callable

from plimsoll_model_router.domain.generation import Answer, Outcome, Progress, Tell


async def buffered(running: Callable[[Tell], Awaitable[Outcome]], tell: Tell) -> Outcome:
    """The outcome; before an answer the pieces of the attempt that gave it are told, before a failure nothing."""
    held: list[Progress] = []

    async def hold(step: Progress) -> None:
        if held and held[0].attempt != step.attempt:
            held.clear()
        held.append(step)

    outcome = await running(hold)
    if isinstance(outcome, Answer):
        for piece in held:
            await tell(piece)
    return outcome
