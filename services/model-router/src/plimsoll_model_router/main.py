"""The composition root: settings → resources in order → adapters → service → server."""

from contextlib import AsyncExitStack

from plimsoll.model_router.v1 import model_router_service_pb2, model_router_service_pb2_grpc
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import MigrationSet, migrate, open_pool, ping
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer, RpcService

from plimsoll_model_router.adapters.postgres_calls import PostgresCallLedger
from plimsoll_model_router.adapters.postgres_prompts import PostgresPromptStore
from plimsoll_model_router.adapters.providers.anthropic import ANTHROPIC_URL, AnthropicDialect
from plimsoll_model_router.adapters.providers.http import HttpTransport, Timers, open_session
from plimsoll_model_router.adapters.providers.http_provider import Dialect, HttpProvider
from plimsoll_model_router.adapters.providers.openai_compatible import OPENAI_URL, OpenAiDialect
from plimsoll_model_router.adapters.providers.rehearsal import RehearsalProvider
from plimsoll_model_router.config import ProviderSettings, Settings
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.failover import Failover
from plimsoll_model_router.ports import Provider
from plimsoll_model_router.service import ModelRouter
from plimsoll_model_router.transport.codec import completed_to_bytes
from plimsoll_model_router.transport.grpc import ModelRouterServicer

NAME = "model-router"
CALLERS = frozenset({"gateway", "orchestrator", "feedback"})
MIGRATIONS = MigrationSet("model_router", "plimsoll_model_router.adapters")


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Enter every resource and wire the service; nothing runs yet."""
    metrics, log, clock = Metrics(), logs.get(NAME), SystemClock()
    pool = await stack.enter_async_context(open_pool(settings.postgres, "model_router", application=NAME))
    await migrate(pool, "model_router", [MIGRATIONS, OUTBOX_MIGRATIONS])
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    session = await stack.enter_async_context(open_session())

    providers = _providers(settings, HttpTransport(session, _timers(settings), clock))
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    ledger = PostgresCallLedger(pool, completed_to_bytes, clock, remember_s=settings.remember_s, committed=relay.wake)
    by_name = {model.provider: provider for provider in providers for model in provider.models}
    service = ModelRouter(
        prompts=PostgresPromptStore(pool),
        ledger=ledger,
        failover=Failover(by_name, clock, cap_s=settings.timers.total_s),
        models=[model for provider in providers for model in provider.models],
        routes=settings.route_table,
        clock=clock,
        ids=RandomIds(),
    )
    register = RpcService(
        model_router_service_pb2.DESCRIPTOR.services_by_name["ModelRouterService"].full_name,
        lambda server: model_router_service_pb2_grpc.add_ModelRouterServiceServicer_to_server(ModelRouterServicer(service), server),
    )
    server = RpcServer(settings.server, [register], PeerCertificates(CALLERS, insecure=settings.server.insecure), metrics, log)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": lambda: ping(pool), "nats": bus.ping},
        servers=[server],
        loops={"relay": relay.run, "forgetting": lambda stop: ledger.run(stop, log)},
    )


def _providers(settings: Settings, transport: HttpTransport) -> list[Provider]:
    """The configured providers in the order of preference; the rehearsal model is always there, last."""
    providers: list[Provider] = []
    if settings.anthropic.model:
        anthropic = AnthropicDialect(base_url=settings.anthropic.base_url or ANTHROPIC_URL, api_key=settings.anthropic.api_key)
        providers.append(_http_provider("anthropic", settings.anthropic, anthropic, transport))
    if settings.openai.model:
        openai = OpenAiDialect(base_url=settings.openai.base_url or OPENAI_URL, api_key=settings.openai.api_key)
        providers.append(_http_provider("openai", settings.openai, openai, transport))
    return [*providers, RehearsalProvider(Fits())]


def _http_provider(name: str, settings: ProviderSettings, dialect: Dialect, transport: HttpTransport) -> HttpProvider:
    model = Model(provider=name, name=settings.model, price=settings.price, context_tokens=settings.context_tokens)
    return HttpProvider(model, dialect, transport)


def _timers(settings: Settings) -> Timers:
    told = settings.timers
    return Timers(connect_s=told.connect_s, first_token_s=told.first_token_s, silence_s=told.silence_s, total_s=told.total_s)


def main() -> None:
    run_service(NAME, Settings, build)
