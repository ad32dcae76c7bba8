"""What the registry holds: immutable versions of prompts, model entries and routes, known by their digest."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_model_router.domain import own_timers, prompts, routes
from plimsoll_model_router.domain.endpoints import USUAL, Feature
from plimsoll_model_router.domain.names import NAME, NAME_REMEDY
from plimsoll_model_router.domain.own_timers import NO_TIMERS, OwnTimers
from plimsoll_model_router.domain.pricing import LongPrice, Price
from plimsoll_model_router.domain.prompts import Example, Template
from plimsoll_model_router.domain.routes import Route
from plimsoll_model_router.errors import InvalidModel

_TOKENS_CAP = 100_000_000


class Kind(StrEnum):
    PROMPT = "prompt"
    MODEL = "model"
    ROUTE = "route"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model of a configured provider, and what is known of it: all that its digest covers, but for the description.

    Attributes:
    model   the provider's own name for it
    price   None: the price table's
    timers  how long is waited for it, where that is told
    """

    name: str
    provider: str
    model: str
    description: str = ""
    context_tokens: int = 0
    max_output_tokens: int = 0
    features: frozenset[Feature] = USUAL
    price: Price | None = None
    timers: OwnTimers = NO_TIMERS


Content: TypeAlias = Template | ModelEntry | Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A registered version. `labels` are those that point at it now; `created_by` is empty for the mesh itself."""

    content: Content
    version: int
    digest: str
    created_at: datetime
    created_by: str = ""
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return kind_of(self.content)

    @property
    def name(self) -> str:
        return self.content.name

    @property
    def template(self) -> Template:
        """The content of a prompt."""
        assert isinstance(self.content, Template)
        return self.content

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def kind_of(content: Content) -> Kind:
    match content:
        case Template():
            return Kind.PROMPT
        case ModelEntry():
            return Kind.MODEL
        case Route():
            return Kind.ROUTE


def digest_of(content: Content) -> str:
    """SHA-256 of the canonical form, without the description."""
    return content.digest if isinstance(content, Template) else digest(to_plain(content))


def checked(content: Content, providers: frozenset[str]) -> Content:
    """The content, when it can be registered. Raises InvalidPrompt, InvalidModel or InvalidRoute with everything that is wrong with it."""
    match content:
        case Template():
            return prompts.checked(content)
        case Route():
            return routes.checked(content)
        case ModelEntry():
            problems = list(_model_problems(content, providers))
            if problems:
                raise InvalidModel(problems=problems)
            return content


def to_plain(content: Content) -> JsonObject:
    """The content as JSON, its description left out."""
    match content:
        case Template():
            examples: list[JsonValue] = [{"user": example.user, "assistant": example.assistant} for example in content.examples]
            variables: list[JsonValue] = [*content.variables]
            return {"variables": variables, "system": content.system, "examples": examples, "user": content.user}
        case Route():
            return routes.to_plain(content)
        case ModelEntry():
            return {
                "name": content.name,
                "provider": content.provider,
                "model": content.model,
                "context_tokens": content.context_tokens,
                "max_output_tokens": content.max_output_tokens,
                "features": [feature.value for feature in sorted(content.features)],
                "price": _price_to_plain(content.price),
                **own_timers.to_plain(content.timers),
            }


def from_plain(kind: Kind, name: str, description: str, value: JsonObject) -> Content:
    """What `to_plain` made."""
    match kind:
        case Kind.PROMPT:
            return _template(name, description, value)
        case Kind.ROUTE:
            return routes.from_plain(value, description)
        case Kind.MODEL:
            features = value["features"]
            assert isinstance(features, list)
            return ModelEntry(
                name=name,
                description=description,
                provider=str(value["provider"]),
                model=str(value["model"]),
                context_tokens=_int(value["context_tokens"]),
                max_output_tokens=_int(value["max_output_tokens"]),
                features=frozenset(Feature(str(feature)) for feature in features),
                price=_price_from_plain(value["price"]),
                timers=own_timers.from_plain(value.get("timers")),
            )


def _template(name: str, description: str, value: JsonObject) -> Template:
    variables, examples = value["variables"], value["examples"]
    assert isinstance(variables, list)
    assert isinstance(examples, list)
    return Template(
        name=name,
        description=description,
        variables=tuple(map(str, variables)),
        system=str(value["system"]),
        examples=tuple(Example(user=str(one["user"]), assistant=one["assistant"]) for one in examples if isinstance(one, dict)),
        user=str(value["user"]),
    )


def _price_to_plain(price: Price | None) -> JsonObject | None:
    if price is None:
        return None
    told: JsonObject = {"input": price.input_micros, "cached_input": price.cached_input_micros, "output": price.output_micros}
    if price.long is not None:
        long = price.long
        told["long"] = {
            "above": long.above, "input": long.input_micros, "cached_input": long.cached_input_micros, "output": long.output_micros
        }  # fmt: skip
    return told


def _price_from_plain(value: JsonValue) -> Price | None:
    if not isinstance(value, dict):
        return None
    told = value.get("long")
    long = None
    if isinstance(told, dict):
        long = LongPrice(
            above=_int(told["above"]),
            input_micros=_int(told["input"]),
            cached_input_micros=_int(told["cached_input"]),
            output_micros=_int(told["output"]),
        )
    return Price(
        input_micros=_int(value["input"]), cached_input_micros=_int(value["cached_input"]), output_micros=_int(value["output"]), long=long
    )


def _int(value: JsonValue) -> int:
    assert isinstance(value, int)
    return value


def _model_problems(entry: ModelEntry, providers: frozenset[str]) -> Iterator[FieldProblem]:
    if not NAME.fullmatch(entry.name):
        yield FieldProblem("model.name", f"is {entry.name!r}", NAME_REMEDY)
    if entry.provider not in providers:
        known = ", ".join(sorted(providers))
        yield FieldProblem("model.provider", f"is {entry.provider!r}, which is not configured", f"use one of: {known}")
    if not entry.model or not entry.model.isprintable():
        yield FieldProblem("model.model", f"is {entry.model!r}", "give the provider's own name for the model")
    if "\x00" in entry.description:
        yield FieldProblem("model.description", "holds the character U+0000", "leave it out")
    for name, value in (("context_tokens", entry.context_tokens), ("max_output_tokens", entry.max_output_tokens)):
        if not 0 <= value <= _TOKENS_CAP:
            yield FieldProblem(f"model.{name}", f"is {value}", f"use 1 to {_TOKENS_CAP}, or 0 when unknown")
    price = entry.price
    if price is not None and min(price.input_micros, price.output_micros, price.cached_input_micros) < 0:
        yield FieldProblem("model.price", "is negative", "use micros of a US dollar per million tokens")
    yield from own_timers.problems(entry.timers, "model.timers")
