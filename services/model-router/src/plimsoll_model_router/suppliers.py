"""From the settings to what can be asked: providers with their credentials and limits, the configured models, and the routes."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import parse_object
from plimsoll_runtime.settings import InvalidSettings

from plimsoll_model_router.config import ProviderSettings, Settings
from plimsoll_model_router.domain.endpoints import USUAL, Credential, Dialect, Feature, Timers
from plimsoll_model_router.domain.prices import PriceTable, read_prices
from plimsoll_model_router.domain.pricing import FREE
from plimsoll_model_router.domain.rehearsal.model import NAME as REHEARSAL
from plimsoll_model_router.domain.routes import Route, RouteCandidate
from plimsoll_model_router.domain.routing import Model, Supplier
from plimsoll_model_router.failover.credentials import CredentialLimits
from plimsoll_model_router.service.catalogue import Configured

_REHEARSAL_CONTEXT = 200_000


def configured(settings: Settings, rehearsal_variants: tuple[str, ...]) -> Configured:
    """Raises InvalidSettings for a price table that cannot be read."""
    suppliers = {REHEARSAL: Supplier(name=REHEARSAL, dialect=Dialect.REHEARSAL)}
    suppliers |= {name: _supplier(settings, name, told) for name, told in settings.providers.items() if told.is_on}
    models = [model for name, told in settings.providers.items() if told.is_on for model in _models(suppliers[name], told)]
    rehearsal = Model(
        provider=REHEARSAL,
        name=REHEARSAL,
        dialect=Dialect.REHEARSAL,
        price=FREE,
        price_source="free",
        context_tokens=_REHEARSAL_CONTEXT,
        features=frozenset(Feature) - {Feature.IMAGES},
        rehearsal=True,
        variants=rehearsal_variants,
    )
    return Configured(suppliers=suppliers, models=[*models, rehearsal], routes=_routes(settings), prices=price_table(settings.prices_file))


def credentials(settings: Settings) -> Mapping[str, tuple[Credential, ...]]:
    """The keys of each provider under names that tell nothing of them."""
    return {
        name: tuple(Credential(name=f"{name}-{number}", secret=key, scope=name) for number, key in enumerate(told.keys, 1))
        for name, told in settings.providers.items()
        if told.is_on
    }


def limits(settings: Settings) -> Mapping[str, CredentialLimits]:
    return {
        name: CredentialLimits(requests=told.requests_per_minute, tokens=told.tokens_per_minute)
        for name, told in settings.providers.items()
    }


def timers(settings: Settings) -> Timers:
    told = settings.timers
    return Timers(connect_s=told.connect_s, first_token_s=told.first_token_s, silence_s=told.silence_s, total_s=told.total_s)


def price_table(path: str) -> PriceTable:
    """The table in the file, or the built-in one. Raises InvalidSettings."""
    try:
        text = Path(path).read_bytes() if path else files("plimsoll_model_router").joinpath("data/prices.json").read_bytes()
        return read_prices(parse_object(text), path or "the built-in price table")
    except OSError as error:
        raise InvalidSettings(f"PRICES_FILE {path} cannot be read: {error.strerror}", remedy="name a readable file") from error
    except Invalid as error:
        raise InvalidSettings(
            f"PRICES_FILE: {error.message}: {'; '.join(map(str, error.problems))}", remedy="write it like the built-in table"
        ) from error


def _supplier(settings: Settings, name: str, told: ProviderSettings) -> Supplier:
    """An address of its own means a server of its own: it is on nobody's price list, and speaks the common form of the dialect."""
    dialects = {
        "anthropic": Dialect.ANTHROPIC,
        "openai": Dialect.OPENAI_COMPATIBLE if told.base_url else Dialect.OPENAI_CHAT,
        "gemini": Dialect.GEMINI,
        "compatible": Dialect.OPENAI_COMPATIBLE,
    }
    dialect = dialects[name]
    if name == "openai" and settings.openai_api == "responses":
        dialect = Dialect.OPENAI_RESPONSES
    vendor = "" if told.base_url else name
    return Supplier(name=name, dialect=dialect, base_url=told.base_url, vendor=vendor)


def _models(supplier: Supplier, told: ProviderSettings) -> list[Model]:
    """The answering model first, then the one that makes embeddings."""

    def made(name: str, features: frozenset[Feature]) -> Model:
        return Model(
            provider=supplier.name,
            name=name,
            dialect=supplier.dialect,
            base_url=supplier.base_url,
            price=told.price,
            price_source="settings" if told.price is not None else "",
            context_tokens=told.context_tokens,
            max_output_tokens=told.max_output_tokens,
            features=features,
        )

    answering = [made(told.model, USUAL)] if told.model else []
    return [*answering, *([made(told.embedding_model, frozenset({Feature.EMBEDDINGS}))] if told.embedding_model else [])]


def _routes(settings: Settings) -> Mapping[str, Route]:
    models = {name: told.model for name, told in settings.providers.items()}
    return {
        task: Route(name=task, candidates=tuple(RouteCandidate(model=f"{name}/{models[name]}") for name in names))
        for task, names in settings.route_table.items()
    }
