"""Models that can be asked, by which names, and the candidates of a question."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain.endpoints import USUAL, Dialect, Endpoint, Feature, ReasoningStyle, Timers
from plimsoll_model_router.domain.own_timers import NO_TIMERS, OwnTimers
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, RouteCandidate
from plimsoll_model_router.errors import UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """A configured provider. `vendor` is whose price list its models are on; empty when nobody's."""

    name: str
    dialect: Dialect
    base_url: str = ""
    vendor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be asked.

    Attributes:
    price           None when nobody told it: its calls are counted in tokens only
    price_source    the price table's version, or the entry that tells it
    context_tokens  what it reads at the most, answer included; 0 when unknown
    rehearsal       it is the built-in rehearsal model, which is not a language model
    variants        further names that it answers to
    entry           the registry's name for it; empty for models of the configuration
    digest          of that entry's version
    timers          those that the entry tells
    supplied        its provider is configured here; what is registered outlasts that
    """

    provider: str
    name: str
    dialect: Dialect = Dialect.OPENAI_COMPATIBLE
    base_url: str = ""
    price: Price | None = None
    price_source: str = ""
    context_tokens: int = 0
    max_output_tokens: int = 0
    features: frozenset[Feature] = USUAL
    reasoning_style: ReasoningStyle = ReasoningStyle.EFFORT
    rehearsal: bool = False
    variants: tuple[str, ...] = ()
    entry: str = ""
    digest: str = ""
    timers: OwnTimers = NO_TIMERS
    supplied: bool = True

    @property
    def full_name(self) -> str:
        return f"{self.provider}/{self.name}"

    def known_as(self, name: str) -> str | None:
        """The name to ask it by, when it answers to `name`, with or without its provider in front."""
        if self.entry and name == self.entry:
            return self.name
        for one in (name, name.removeprefix(f"{self.provider}/")):
            if one == self.name or one in self.variants:
                return one
        return None

    def endpoint(self, ask_for: str) -> Endpoint:
        """Where it is asked."""
        return Endpoint(
            provider=self.provider,
            dialect=self.dialect,
            model=ask_for,
            base_url=self.base_url,
            features=self.features,
            reasoning_style=self.reasoning_style,
            max_output_tokens=self.max_output_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to try, under the name to ask it by, with what its route says of it.

    Attributes:
    quality    0 when nobody evaluated it
    timers     those of the route: they come before the model's own
    full_name  with its provider in front
    endpoint   where it is asked
    """

    model: Model
    ask_for: str
    weight: float = 1.0
    quality: float = 0.0
    tier: CheapOrStrong | None = None
    timers: OwnTimers = NO_TIMERS
    full_name: str = field(init=False, repr=False, compare=False)
    endpoint: Endpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Worked out once: a candidate is made for many questions."""
        object.__setattr__(self, "full_name", f"{self.model.provider}/{self.ask_for}")
        object.__setattr__(self, "endpoint", self.model.endpoint(self.ask_for))

    def waits(self, usual: Timers) -> Timers:
        """How long is waited for it."""
        return self.timers.over(self.model.timers.over(usual))


def candidates(models: Sequence[Model], route: Route | None, *, wanted: str) -> tuple[Candidate, ...]:
    """The models that a question may go to, in the order of preference.

    A model that is asked for by name is the only candidate. Otherwise the route lists them, and without a route it is every model
    of the configuration. The rehearsal model answers unasked only where no other model is configured, or where a route names it:
    it never steps in for a provider that fails. Raises UnknownModel for a name that nobody answers to.
    """
    if wanted:
        return (_named(models, wanted, "model"),)
    if route is not None:
        return tuple(_routed(models, route, at, one) for at, one in enumerate(route.candidates))
    real = [model for model in models if not model.rehearsal and not model.entry]
    return tuple(Candidate(model=model, ask_for=model.name) for model in real or models if not model.entry)


def _routed(models: Sequence[Model], route: Route, at: int, one: RouteCandidate) -> Candidate:
    found = _named(models, one.model, f"route {route.name}, candidates[{at}].model")
    return Candidate(
        model=found.model, ask_for=found.ask_for, weight=one.weight or 1.0, quality=one.quality, tier=one.tier, timers=route.timers
    )


def _named(models: Sequence[Model], wanted: str, field: str) -> Candidate:
    """Entries of the registry come before models of the configuration that answer to the same name."""
    named = [Candidate(model=model, ask_for=name) for model in models if (name := model.known_as(wanted)) is not None]
    if not named:
        known = ", ".join(model.entry or model.full_name for model in models)
        raise UnknownModel(problems=[FieldProblem(field, f"is {wanted!r}, which no configured provider serves", f"use one of: {known}")])
    return min(named, key=lambda one: one.model.entry != wanted)
