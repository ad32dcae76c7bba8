"""A router on fakes, as several tests need it."""

from collections.abc import Mapping, Sequence
from datetime import date

from model_router_fakes import FakeBudgetStore, FakeCallLedger, FakeGate, FakeRegistryStore, FakeReports, FakeUpstream, Step
from model_router_samples import ACME, UMBRELLA, failure
from plimsoll_model_router.domain.endpoints import Dialect, Timers
from plimsoll_model_router.domain.generation import Answer, Generation, Unanswered
from plimsoll_model_router.domain.labels import Move
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.prices import ListedPrice, PriceTable
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.registry_cache import Moved, RegistryCache
from plimsoll_model_router.domain.routes import Route
from plimsoll_model_router.domain.routing import Model, Supplier
from plimsoll_model_router.errors import (
    ProviderError,
    Remedy,
)
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import Credentials
from plimsoll_model_router.failover.embedding import EmbeddingFailover
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.catalogue import Catalogue, Configured
from plimsoll_model_router.service.embedding import Embedder
from plimsoll_model_router.service.forgiving import ForgivingLedger
from plimsoll_model_router.service.planning import Planner
from plimsoll_model_router.service.registry import Registry
from plimsoll_model_router.service.router import ModelRouter
from plimsoll_runtime import logs
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

FAILED = ProviderError(failure(), Remedy.NEXT_PROVIDER)
ASKER, OTHER = Asker(tenant=ACME), Asker(tenant=UMBRELLA)
CHEAP = Price(input_micros=1_000_000, output_micros=1_000_000, cached_input_micros=0)
LOG = logs.get("test")


class Room:
    """A router on fakes: the models `m-1` of the provider `fake`, or those told."""

    def __init__(
        self,
        clock: FakeClock,
        *steps: Step,
        models: Sequence[Model] = (),
        routes: Mapping[str, Route] | None = None,
        forgiving: bool = False,
        **more: Sequence[Step],
    ) -> None:
        self.upstream = FakeUpstream(**{"m-1": list(steps), **more})
        self.budgets, self.store, self.cache = FakeBudgetStore(clock), FakeRegistryStore(clock), RegistryCache()
        self.ledger, self.unpriced, self.gate = FakeCallLedger(clock, self.budgets), list[str](), FakeGate(clock)
        listed = models or (Model(provider="fake", name="m-1", price=CHEAP),)
        table = PriceTable(version="t1", rows=[ListedPrice(vendor="openai", model="gpt-x", since=date(2025, 1, 1), price=CHEAP)])
        self.suppliers = {
            "fake": Supplier(name="fake", dialect=Dialect.OPENAI_COMPATIBLE),
            "openai": Supplier(name="openai", dialect=Dialect.OPENAI_CHAT, vendor="openai"),
        }
        configured = Configured(suppliers=self.suppliers, models=listed, routes=routes or {}, prices=table)
        self.catalogue = Catalogue(self.store, self.cache, configured, clock, LOG)
        upstreams, keys, self.pace = dict.fromkeys(Dialect, self.upstream), Credentials({}, clock), Pace()
        attempts = Attempts(upstreams, self.gate, clock, self.pace, timers=Timers(), breaker=BreakerPolicy(), limits={})
        ledger = ForgivingLedger(self.ledger, LOG) if forgiving else self.ledger
        self.router = ModelRouter(
            ledger=ledger,
            failover=Failover(attempts, keys, clock, cap_s=60.0),
            planner=Planner(self.catalogue, ledger, self.pace, attempts.is_open),
            clock=clock,
            ids=FakeIds(),
            unpriced=self.unpriced.append,
        )
        vectors = EmbeddingFailover(upstreams, self.gate, keys, clock, timers=Timers(), limits={}, breaker=BreakerPolicy())
        self.embedder = Embedder(self.catalogue, ledger, vectors, clock, FakeIds())
        self.registry = Registry(self.store, self.catalogue, FakeReports(), self.announce, protected=frozenset())

    async def announce(self, tenant: str, move: Move) -> None:
        self.cache.note(Moved(position=move.position, tenant=tenant, kind=move.kind, name=move.name))

    async def answered(self, asked: Generation, asker: Asker = ASKER) -> Answer:
        outcome = await self.router.generate(asker, asked)
        assert isinstance(outcome, Answer), outcome
        return outcome

    async def unanswered(self, asked: Generation, asker: Asker = ASKER) -> Unanswered:
        outcome = await self.router.generate(asker, asked)
        assert isinstance(outcome, Unanswered), outcome
        return outcome


def model(name: str, **more: object) -> Model:
    return Model(provider="fake", name=name, **{"price": CHEAP, **more})  # type: ignore[arg-type]
