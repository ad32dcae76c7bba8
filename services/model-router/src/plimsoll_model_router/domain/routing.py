"""Which models may answer a question, and in which order they are tried. A pure choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.errors import UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be asked.

    Attributes:
    price           None when nobody told it: its calls are counted in tokens only
    context_tokens  what it reads at the most, answer included; 0 when unknown
    rehearsal       it is the built-in rehearsal model, which is not a language model
    variants        further names that it answers to
    """

    provider: str
    name: str
    price: Price | None = None
    context_tokens: int = 0
    rehearsal: bool = False
    variants: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.provider}/{self.name}"

    def known_as(self, name: str) -> str | None:
        """The name to ask it by, when it answers to `name`, with or without its provider in front."""
        names = {self.name, *self.variants}
        return next((one for one in (name, name.removeprefix(f"{self.provider}/")) if one in names), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to try, under the name to ask it by."""

    model: Model
    ask_for: str


def candidates(models: Sequence[Model], routes: Mapping[str, Sequence[str]], *, task: str, wanted: str) -> tuple[Candidate, ...]:
    """The models to try, in order.

    A model that is asked for by name is the only candidate. Otherwise the task's route orders the providers, and without a route
    all are tried in the order of configuration. The rehearsal model answers unasked only where no other model is configured: it
    never steps in for a provider that fails. Raises UnknownModel for a name that nobody answers to.
    """
    if wanted:
        named = [Candidate(model=model, ask_for=name) for model in models if (name := model.known_as(wanted)) is not None]
        if not named:
            known = ", ".join(model.full_name for model in models)
            raise UnknownModel(
                problems=[FieldProblem("model", f"is {wanted!r}, which no configured provider serves", f"use one of: {known}")]
            )
        return (named[0],)
    real = [model for model in models if not model.rehearsal]
    order = routes.get(task) or routes.get("*")
    if real and order:
        real = [model for provider in order for model in real if model.provider == provider]
    return tuple(Candidate(model=model, ask_for=model.name) for model in real or models)
