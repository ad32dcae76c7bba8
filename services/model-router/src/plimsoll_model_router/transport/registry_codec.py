"""The registry, protobuf ↔ domain."""

from collections.abc import Mapping
from types import MappingProxyType

from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import prompt_pb2, registry_pb2, routing_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_from_proto, json_to_proto, timestamp_to_proto

from plimsoll_model_router.domain.differences import Difference
from plimsoll_model_router.domain.endpoints import USUAL, Feature
from plimsoll_model_router.domain.entries import Entry, Kind, ModelEntry
from plimsoll_model_router.domain.labels import EntryReference, Grounds, Move
from plimsoll_model_router.domain.own_timers import OwnTimers
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Example, Selector, Template
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, RouteCandidate, Strategy
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import InvalidModel, InvalidPrompt, InvalidRoute

_KINDS: Mapping[int, Kind] = MappingProxyType(
    {registry_pb2.ENTRY_KIND_PROMPT: Kind.PROMPT, registry_pb2.ENTRY_KIND_MODEL: Kind.MODEL, registry_pb2.ENTRY_KIND_ROUTE: Kind.ROUTE}
)
_KIND_CODES = {kind: registry_pb2.EntryKind.Value(f"ENTRY_KIND_{kind.name}") for kind in Kind}
_GROUNDS = {grounds: registry_pb2.MoveGrounds.Value(f"MOVE_GROUNDS_{grounds.name}") for grounds in Grounds}
_FEATURE_CODES = {feature: routing_pb2.ModelFeature.Value(f"MODEL_FEATURE_{feature.name}") for feature in Feature}
_FEATURES: Mapping[int, Feature] = MappingProxyType({code: feature for feature, code in _FEATURE_CODES.items()})
_STRATEGY_CODES = {strategy: routing_pb2.RouteStrategy.Value(f"ROUTE_STRATEGY_{strategy.name}") for strategy in Strategy}
_STRATEGIES: Mapping[int, Strategy] = MappingProxyType(
    {routing_pb2.ROUTE_STRATEGY_UNSPECIFIED: Strategy.ORDER, **{code: strategy for strategy, code in _STRATEGY_CODES.items()}}
)
_TIERS: Mapping[int, CheapOrStrong | None] = MappingProxyType(
    {
        routing_pb2.ROUTE_TIER_UNSPECIFIED: None,
        routing_pb2.ROUTE_TIER_CHEAP: CheapOrStrong.CHEAP,
        routing_pb2.ROUTE_TIER_STRONG: CheapOrStrong.STRONG,
    }
)
_TIER_CODES = {tier: code for code, tier in _TIERS.items()}
_HARD_ABOVE = 0.5


def kind_from_proto(code: int, field: str) -> Kind:
    found = _KINDS.get(code)
    if found is None:
        raise Invalid(problems=(FieldProblem(field, "is missing", "use PROMPT, MODEL or ROUTE"),))
    return found


def reference_from_proto(message: registry_pb2.EntryReference, field: str) -> EntryReference:
    kind = kind_from_proto(message.kind, f"{field}.kind")
    if not message.name:
        raise Invalid(problems=(FieldProblem(f"{field}.name", "is empty", f"name the {kind}"),))
    selector: Selector
    match message.WhichOneof("selector"):
        case "version":
            selector = ByVersion(version=message.version)
        case "digest":
            selector = ByDigest(digest=message.digest)
        case "label":
            selector = ByLabel(label=message.label)
        case _:
            raise Invalid(problems=(FieldProblem(f"{field}.selector", "is missing", "send a label, a version or a digest"),))
    return EntryReference(kind=kind, name=message.name, selector=selector)


def template_from_proto(message: prompt_pb2.Prompt) -> Template:
    set_by_us = [name for name in ("digest", "version", "labels") if getattr(message, name)]
    if set_by_us:
        raise InvalidPrompt(problems=[FieldProblem(f"prompt.{name}", "is set by the service", "leave it out") for name in set_by_us])
    return Template(
        name=message.name,
        description=message.description,
        variables=tuple(message.variables),
        system=message.system,
        examples=tuple(
            Example(user=example.user, assistant=json_from_proto(example.assistant, f"prompt.examples[{at}].assistant"))
            for at, example in enumerate(message.examples)
        ),
        user=message.user,
    )


def prompt_to_proto(entry: Entry) -> prompt_pb2.Prompt:
    template = entry.template
    return prompt_pb2.Prompt(
        name=template.name,
        digest=entry.digest,
        version=entry.version,
        description=template.description,
        variables=template.variables,
        system=template.system,
        examples=[prompt_pb2.PromptExample(user=e.user, assistant=json_to_proto(e.assistant)) for e in template.examples],
        user=template.user,
        labels=entry.labels,
        create_time=timestamp_to_proto(entry.created_at),
    )


def model_entry_from_proto(message: routing_pb2.ModelEntry) -> ModelEntry:
    unknown = [at for at, code in enumerate(message.features) if code not in _FEATURES]
    if unknown:
        raise InvalidModel(problems=[FieldProblem(f"model.features[{at}]", "is unknown", "use one of ModelFeature") for at in unknown])
    price = None
    if message.HasField("price"):
        told = message.price
        price = Price(input_micros=told.input_micros, output_micros=told.output_micros, cached_input_micros=told.cached_input_micros)
    return ModelEntry(
        name=message.name,
        description=message.description,
        provider=message.provider,
        model=message.model,
        context_tokens=message.context_tokens,
        max_output_tokens=message.max_output_tokens,
        features=frozenset(_FEATURES[code] for code in message.features) or USUAL,
        price=price,
        timers=_timers_from_proto(message.timers),
    )


def _timers_from_proto(message: routing_pb2.ModelTimers) -> OwnTimers:
    return OwnTimers(
        connect_s=duration_from_proto(message.connect),
        first_token_s=duration_from_proto(message.first_token),
        silence_s=duration_from_proto(message.silence),
        total_s=duration_from_proto(message.total),
    )


def _timers_to_proto(timers: OwnTimers) -> routing_pb2.ModelTimers | None:
    if not timers:
        return None
    return routing_pb2.ModelTimers(
        connect=duration_to_proto(timers.connect_s) if timers.connect_s else None,
        first_token=duration_to_proto(timers.first_token_s) if timers.first_token_s else None,
        silence=duration_to_proto(timers.silence_s) if timers.silence_s else None,
        total=duration_to_proto(timers.total_s) if timers.total_s else None,
    )


def route_from_proto(message: routing_pb2.Route) -> Route:
    problems = [
        FieldProblem(f"route.candidates[{at}].tier", f"is {one.tier}", "use CHEAP or STRONG, or leave it out")
        for at, one in enumerate(message.candidates)
        if one.tier not in _TIERS
    ]
    if message.strategy not in _STRATEGIES:
        problems.append(FieldProblem("route.strategy", f"is {message.strategy}", "use ORDER, WEIGHTED or ADAPTIVE"))
    if problems:
        raise InvalidRoute(problems=problems)
    return Route(
        name=message.name,
        description=message.description,
        candidates=tuple(
            RouteCandidate(model=one.model, weight=one.weight or 1.0, quality=one.quality, tier=_TIERS[one.tier])
            for one in message.candidates
        ),
        strategy=_STRATEGIES[message.strategy],
        latency_target_s=duration_from_proto(message.latency_target),
        max_output_price_micros=message.max_output_price_micros,
        hard_above=message.hard_above or _HARD_ABOVE,
        hedge_after_s=duration_from_proto(message.hedge_after),
        explore=message.explore,
        refusal_moves_on=message.refusal_moves_on,
        timers=_timers_from_proto(message.timers),
    )


def entry_to_proto(entry: Entry) -> registry_pb2.Entry:
    message = registry_pb2.Entry(
        kind=_KIND_CODES[entry.kind],
        name=entry.name,
        version=entry.version,
        digest=entry.digest,
        labels=entry.labels,
        create_time=timestamp_to_proto(entry.created_at),
        created_by=entry.created_by,
    )
    match entry.content:
        case Template():
            message.prompt.CopyFrom(prompt_to_proto(entry))
        case ModelEntry() as told:
            message.model.CopyFrom(_model_entry_to_proto(told))
        case Route() as told:
            message.route.CopyFrom(_route_to_proto(told))
    return message


def move_to_proto(move: Move) -> registry_pb2.LabelMove:
    return registry_pb2.LabelMove(
        kind=_KIND_CODES[move.kind],
        name=move.name,
        label=move.label,
        from_version=move.from_version,
        to_version=move.to_version,
        grounds=_GROUNDS[move.grounds],
        report_digest=move.report_digest,
        reason=move.reason,
        moved_by=move.moved_by,
        move_time=timestamp_to_proto(move.moved_at) if move.moved_at is not None else None,
    )


def difference_to_proto(one: Difference) -> registry_pb2.EntryDifference:
    return registry_pb2.EntryDifference(field=one.field, before=one.before, after=one.after, lines=one.lines)


def model_to_proto(model: Model, latency_s: float | None, *, available: bool) -> pb.Model:
    price = model.price
    return pb.Model(
        provider=model.provider,
        name=model.name,
        rehearsal=model.rehearsal,
        input_price_micros=price.input_micros if price is not None else 0,
        output_price_micros=price.output_micros if price is not None else 0,
        cached_input_price_micros=price.cached_input_micros if price is not None else 0,
        priced=price is not None,
        price_source=model.price_source,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        features=sorted(_FEATURE_CODES[feature] for feature in model.features),
        entry=model.entry,
        latency=duration_to_proto(latency_s) if latency_s is not None else None,
        available=available,
    )


def _model_entry_to_proto(entry: ModelEntry) -> routing_pb2.ModelEntry:
    message = routing_pb2.ModelEntry(
        name=entry.name,
        description=entry.description,
        provider=entry.provider,
        model=entry.model,
        context_tokens=entry.context_tokens,
        max_output_tokens=entry.max_output_tokens,
        features=sorted(_FEATURE_CODES[feature] for feature in entry.features),
        timers=_timers_to_proto(entry.timers),
    )
    if entry.price is not None:
        message.price.input_micros = entry.price.input_micros
        message.price.output_micros = entry.price.output_micros
        message.price.cached_input_micros = entry.price.cached_input_micros
    return message


def _route_to_proto(route: Route) -> routing_pb2.Route:
    return routing_pb2.Route(
        name=route.name,
        description=route.description,
        candidates=[
            routing_pb2.RouteCandidate(model=one.model, weight=one.weight, quality=one.quality, tier=_TIER_CODES[one.tier])  # type: ignore[arg-type]
            for one in route.candidates
        ],
        strategy=_STRATEGY_CODES[route.strategy],
        latency_target=duration_to_proto(route.latency_target_s) if route.latency_target_s else None,
        max_output_price_micros=route.max_output_price_micros,
        hard_above=route.hard_above,
        hedge_after=duration_to_proto(route.hedge_after_s) if route.hedge_after_s else None,
        explore=route.explore,
        refusal_moves_on=route.refusal_moves_on,
        timers=_timers_to_proto(route.timers),
    )
