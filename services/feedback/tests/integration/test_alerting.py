"""Alerts reach the webhook, signed, once it takes them."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import asyncpg
import orjson
import pytest
from aiohttp import web
from feedback_running import settled
from feedback_samples import NOON, UMBRELLA, operation
from plimsoll_feedback.adapters.alert_webhook import AlertWebhook
from plimsoll_feedback.adapters.postgres_feed import PostgresOperationFeed, PostgresSignalFeed
from plimsoll_feedback.adapters.postgres_monitors import PostgresMonitorStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS
from plimsoll_feedback.config import AlertSettings
from plimsoll_feedback.domain.alert_message import RETRIES_S
from plimsoll_feedback.domain.monitor import Rules
from plimsoll_feedback.domain.operation import OperationId, OperationKind
from plimsoll_feedback.service.alerting import Alerting
from plimsoll_feedback.service.monitors import Monitors
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.monitor_codec import alert_raised
from plimsoll_runtime import logs
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = Secret("whsec_" + base64.b64encode(KEY).decode())
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class Hook:
    """Where alerts are told; answers with the statuses it was given, then with 200."""

    statuses: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def listening() -> AsyncIterator[Hook]:
    hook, app = Hook(), web.Application()
    app.router.add_post("/alerts", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alerts"
    try:
        yield hook
    finally:
        await runner.cleanup()


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool


async def raise_alert(pool: asyncpg.Pool, clock: FakeClock) -> PostgresMonitorStore:
    """Twenty runs that worked, forty that failed."""
    late = Failure(category=Category.TIMEOUT, reason="TOO_SLOW", message="too slow")

    def ended(number: int) -> object:
        one = operation(number, tenant=UMBRELLA, kind=OperationKind.RUN, failed=late if number >= 30 else None)
        return replace(one, id=OperationId(f"run_{number:03}"), facts={"status": "failed"})

    await PostgresOperationStore(pool, signal_recorded).record([ended(number) for number in range(70)], [])
    await settled(pool)
    store = PostgresMonitorStore(pool, alert_raised)
    feeds = PostgresOperationFeed(pool), PostgresSignalFeed(pool)
    rules = Rules(alpha=0.01, baseline=30, minimum=5)
    await Monitors(store, *feeds, clock, RandomIds(), logs.get("feedback"), rules=rules, deliver=True).follow_operations()
    return store


async def test_an_alert_is_told_once_and_signed(pool: asyncpg.Pool, clock: FakeClock) -> None:
    store = await raise_alert(pool, clock)
    async with listening() as hook:
        settings = AlertSettings(webhook_url=hook.url, webhook_secret=SECRET, networks=LOOPBACK)
        async with AlertWebhook.opened(settings.rules) as webhook:
            alerting = Alerting(store, webhook, clock, logs.get("feedback"), url=hook.url, secret=SECRET)
            assert await alerting.deliver()
            assert not await alerting.deliver()
    [(headers, body)] = hook.taken
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    told = orjson.loads(body)
    assert (told["type"], told["data"]["tenant"], told["data"]["measure"]) == ("alert.raised", UMBRELLA, "failed_runs")
    assert told["timestamp"] == clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert NOON.year == 2026


async def test_a_webhook_that_does_not_take_it_is_told_again_until_the_tries_are_used_up(pool: asyncpg.Pool, clock: FakeClock) -> None:
    store = await raise_alert(pool, clock)
    async with listening() as hook:
        hook.statuses = [500] * 50
        settings = AlertSettings(webhook_url=hook.url, networks=LOOPBACK)
        async with AlertWebhook.opened(settings.rules) as webhook:
            alerting = Alerting(store, webhook, clock, logs.get("feedback"), url=hook.url, secret=Secret(""))
            tries = 0
            while await pool.fetchval("select count(*) from alert_deliveries") or tries == 0:
                await pool.execute("select set_config('plimsoll.ingesting', 'yes', false)")
                await pool.execute("update alert_deliveries set next_at = now() - interval '1 s'")
                if not await alerting.deliver():
                    break
                tries += 1
    assert len(hook.taken) == len(RETRIES_S) + 1
    assert "webhook-signature" not in hook.taken[0][0]


async def test_an_address_that_is_not_allowed_is_not_called(pool: asyncpg.Pool, clock: FakeClock) -> None:
    store = await raise_alert(pool, clock)
    async with listening() as hook:
        settings = AlertSettings(webhook_url=hook.url)  # loopback, and no network says that it may be reached
        async with AlertWebhook.opened(settings.rules) as webhook:
            assert await Alerting(store, webhook, clock, logs.get("feedback"), url=hook.url, secret=Secret("")).deliver()
    assert hook.taken == []
