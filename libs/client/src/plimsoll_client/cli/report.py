"""What is told about a run that has come to rest: the run, which models answered, and how long it took."""

from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_client.events import RunEvent, StepFinished
from plimsoll_client.models import Obstacle, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Attributes:
    models      those that answered, in the order of their first answer
    duration_s  from acceptance to the end; None while it goes on
    obstacles   what a run waits for that is not final, as far as somebody asked
    """

    run: Run
    models: tuple[str, ...]
    duration_s: float | None
    obstacles: tuple[Obstacle, ...] = ()


def models_of(events: Iterable[RunEvent]) -> tuple[str, ...]:
    """The models that a journal names as having answered."""
    found: dict[str, None] = {}
    for event in events:
        if isinstance(event.event, StepFinished):
            found.update(dict.fromkeys(models_in(event.event)))
    return tuple(found)


def models_in(step: StepFinished) -> tuple[str, ...]:
    """The models that one step used: one for a call, several for a loop or a map."""
    named = step.facts.get("model") or step.facts.get("models") or []
    return tuple(str(name) for name in (named if isinstance(named, list) else [named]))
