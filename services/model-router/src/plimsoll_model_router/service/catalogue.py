"""What may be asked for: prompts, models and routes, as the registry and the configuration tell them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import DeadlineExpired, Unavailable

from plimsoll_model_router.domain.entries import Entry, Kind, ModelEntry
from plimsoll_model_router.domain.generation import Generation
from plimsoll_model_router.domain.labels import EntryReference
from plimsoll_model_router.domain.names import NAME
from plimsoll_model_router.domain.prices import PriceTable
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, PromptReference, Selector
from plimsoll_model_router.domain.registry_cache import Labelled, RegistryCache
from plimsoll_model_router.domain.routes import DEFAULT, Route
from plimsoll_model_router.domain.routing import Candidate, Model, Supplier, candidates
from plimsoll_model_router.ports import RegistryStore

_MOST_MADE = 2000
SERVED = "production"  # the label of model entries and routes that are used without being named


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What the settings tell: providers, their models in the order of preference, and routes by task (`*` is every other)."""

    suppliers: Mapping[str, Supplier]
    models: Sequence[Model]
    routes: Mapping[str, Route]
    prices: PriceTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The route of a task, with the version that it is of; 0 for one of the configuration."""

    route: Route
    version: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """The candidates of a question, and what they follow from: the registry's models, the day of the prices, the route."""

    entries: Sequence[Entry]
    day: date
    route: Route | None
    candidates: tuple[Candidate, ...]


class Catalogue:
    """Answers from memory what cannot have changed; while the store is away, also what it said last."""

    def __init__(self, store: RegistryStore, cache: RegistryCache, configured: Configured, clock: Clock, log: logs.Log) -> None:
        self._store = store
        self._cache = cache
        self._configured = configured
        self._clock = clock
        self._log = log
        self._made: dict[tuple[str, int, str, str, date], Model] = {}
        self._listed: dict[tuple[str, str, str], _Listed] = {}

    async def prompt(self, tenant: str, reference: PromptReference) -> Entry:
        """Raises UnknownPrompt."""
        return await self.entry(tenant, EntryReference(kind=Kind.PROMPT, name=reference.name, selector=reference.selector))

    async def entry(self, tenant: str, reference: EntryReference) -> Entry:
        """Raises UnknownPrompt or UnknownEntry."""
        known = self._cache.get(tenant, reference)
        if known is not None:
            return known
        asked = self._cache.noted
        try:
            found = await self._store.get(tenant, reference)
        except (Unavailable, DeadlineExpired) as error:
            last = self._cache.get(tenant, reference, stale=True)
            if last is None:
                raise
            self._log.warning("registry.last_known_good", {"entry": str(last), "reason": error.reason})
            return last
        self._cache.refresh(tenant, reference, found, asked=asked)
        return found

    async def models(self, tenant: str, wanted: str = "", digest: str = "") -> Sequence[Model]:
        """The registry's models that are served, then those of the configuration; `name@version` adds one version of an entry.

        With a digest, only that version of the entry `wanted`.
        """
        if digest:
            pinned = EntryReference(kind=Kind.MODEL, name=wanted, selector=ByDigest(digest=digest))
            return [self._model(await self.entry(tenant, pinned), wanted)]
        entries = await self._labelled(tenant, Kind.MODEL)
        named = _reference(wanted)
        versions = [self._model(await self.entry(tenant, named), wanted)] if named is not None else []
        return [*versions, *(self._model(entry, entry.name) for entry in entries), *self.configured_models()]

    async def candidates(self, tenant: str, generation: Generation, routed: Routed | None) -> tuple[Candidate, ...]:
        """The models that a question may go to, in the order of preference. Raises UnknownModel, or UnknownEntry.

        What was found once holds until the registry's models or the day are others.
        """
        wanted, digest = generation.model, generation.model_digest
        if digest or _reference(wanted) is not None:
            return candidates(await self.models(tenant, wanted, digest), None, wanted=wanted)
        entries, day, route = (
            await self._labelled(tenant, Kind.MODEL),
            self._clock.now().date(),
            routed.route if routed is not None else None,
        )
        key = (tenant, wanted, routed.digest or routed.route.name if routed is not None else "")
        known = self._listed.get(key)
        if known is not None and known.entries is entries and known.day == day and known.route is route:
            return known.candidates
        found = candidates(await self.models(tenant, wanted), route, wanted=wanted)
        if len(self._listed) >= _MOST_MADE:
            self._listed.clear()
        self._listed[key] = _Listed(entries=entries, day=day, route=route, candidates=found)
        return found

    def configured_models(self) -> Sequence[Model]:
        """Models of the configuration, with the prices that hold today."""
        return [self._priced(model) for model in self._configured.models]

    async def route(self, tenant: str, task: str) -> Routed | None:
        """The task's own route, or the default one: of the registry, else of the configuration."""
        entries = {entry.name: entry for entry in await self._labelled(tenant, Kind.ROUTE)}
        found = entries.get(task) or entries.get(DEFAULT)
        if found is not None:
            assert isinstance(found.content, Route)
            return Routed(route=found.content, version=found.version, digest=found.digest)
        configured = self._configured.routes.get(task) or self._configured.routes.get("*")
        return Routed(route=configured) if configured is not None else None

    @property
    def providers(self) -> frozenset[str]:
        """Those that are configured."""
        return frozenset(self._configured.suppliers)

    async def _labelled(self, tenant: str, kind: Kind) -> Sequence[Entry]:
        known = self._cache.labelled(tenant, kind, SERVED)
        if known is not None:
            return known
        asked = self._cache.noted
        try:
            found = await self._store.labelled(tenant, kind, SERVED)
        except (Unavailable, DeadlineExpired) as error:
            last = self._cache.labelled(tenant, kind, SERVED, stale=True)
            if last is None:
                raise
            self._log.warning("registry.last_known_good", {"kind": str(kind), "reason": error.reason})
            return last
        self._cache.put_labelled(Labelled(tenant=tenant, kind=kind, label=SERVED, entries=tuple(found)), asked=asked)
        return found

    def _model(self, entry: Entry, name: str) -> Model:
        """A registered model, as it is for today: neither a version nor the configuration changes, but prices do."""
        key = (entry.name, entry.version, entry.digest, name, self._clock.now().date())
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[key] = self._make(entry, name)
        return made

    def _make(self, entry: Entry, name: str) -> Model:
        """Its provider may have been taken out of the configuration since: then the model is known, and cannot be asked."""
        told = entry.content
        assert isinstance(told, ModelEntry)
        base = next((model for model in self._configured.models if (model.provider, model.name) == (told.provider, told.model)), None)
        if base is None:
            supplier = self._configured.suppliers.get(told.provider)
            base = Model(provider=told.provider, name=told.model, supplied=supplier is not None)
            if supplier is not None:
                base = replace(base, dialect=supplier.dialect, base_url=supplier.base_url)
        made = replace(
            base,
            context_tokens=told.context_tokens or base.context_tokens,
            max_output_tokens=told.max_output_tokens or base.max_output_tokens,
            features=told.features,
            price=told.price or base.price,
            price_source=str(entry) if told.price is not None else base.price_source,
            entry=name,
            digest=entry.digest,
            timers=told.timers,
        )
        return self._priced(made)

    def _priced(self, model: Model) -> Model:
        supplier = self._configured.suppliers.get(model.provider)
        if model.price is not None or supplier is None or not supplier.vendor:
            return model
        price = self._configured.prices.price(supplier.vendor, model.name, self._clock.now().date())
        return replace(model, price=price, price_source=self._configured.prices.version) if price is not None else model


def _reference(wanted: str) -> EntryReference | None:
    """A model entry named with its version or label, such as `fast@3`."""
    name, at, told = wanted.rpartition("@")
    if not at or not NAME.fullmatch(name) or not told:
        return None
    selector: Selector = ByVersion(version=int(told)) if told.isascii() and told.isdigit() else ByLabel(label=told)
    return EntryReference(kind=Kind.MODEL, name=name, selector=selector)
