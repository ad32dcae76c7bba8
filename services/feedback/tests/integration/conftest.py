"""Fixtures that need real servers."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from feedback_running import Outage, RunningFeedback, Start, running
from plimsoll_feedback.config import AlertSettings, ExportSettings, MonitorSettings, Settings
from plimsoll_runtime.bus import Bus, open_bus
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, TlsSettings


@pytest.fixture
async def outage(postgres_dsn: str) -> AsyncIterator[Outage]:
    outage = Outage(dsn=postgres_dsn)
    await outage.end()
    yield outage
    await outage.begin()


@pytest.fixture
def settings(outage: Outage, nats_url: str) -> Settings:
    return Settings(
        server=ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0),
        postgres=PostgresSettings(dsn=Secret(outage.dsn_through)),
        nats=NatsSettings(url=Secret(nats_url)),
        monitors=MonitorSettings(),
        alerts=AlertSettings(),
        export=ExportSettings(),
        ingest_batch=64,
    )


@pytest.fixture
def start(settings: Settings) -> Start:
    """Start the service; more than once for more than one replica."""

    return partial(running, settings)


@pytest.fixture
async def feedback(start: Start) -> AsyncIterator[RunningFeedback]:
    async with start() as running:
        yield running


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """Where the other services publish."""
    async with open_bus(NatsSettings(url=Secret(nats_url)), "publisher", Metrics()) as bus:
        yield bus
