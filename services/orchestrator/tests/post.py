"""Webhooks on a bench, with a receiver that does what a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator_fakes import STEPS, TENANT, Bench, open_bench
from plimsoll_orchestrator.adapters.postgres_webhooks import PostgresWebhookStore
from plimsoll_orchestrator.adapters.webhook_sender import WebhookSender
from plimsoll_orchestrator.domain.webhook import Webhook
from plimsoll_orchestrator.ports.webhooks import Delivery, DeliveryFilter
from plimsoll_orchestrator.service.webhooks import Webhooks
from plimsoll_orchestrator.webhooks import Courier
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.egress import EgressRules
from plimsoll_testkit.hostile_http import HostileHttp


@dataclass
class Post:
    """Webhooks on a bench, and a receiver."""

    bench: Bench
    receiver: HostileHttp
    store: PostgresWebhookStore
    sender: WebhookSender
    webhooks: Webhooks

    def courier(self, store: PostgresWebhookStore | None = None, sender: WebhookSender | None = None) -> Courier:
        return Courier(store or self.store, sender or self.sender, SystemClock(), logs.get("test"), draw=lambda: 0.0)

    async def put(self, path: str = "/ok", name: str = "hook", *, rotate: bool = False, **more: object) -> str:
        """Make a webhook or change it; its secret, when that was told."""
        plain = Webhook(name=name, url=self.receiver.url + path, agent="", statuses=(), disabled=False)
        _, secret = await self.webhooks.put_webhook(TENANT, replace(plain, **more), rotate=rotate)
        return secret.reveal() if secret else ""

    async def end_run(self, thread_id: str = "") -> str:
        """A run that ends, by being cancelled."""
        run_id = await self.bench.start("steps", {"canary": "c"})
        await self.bench.control.cancel_run(TENANT, run_id, "enough", "me")
        return run_id

    async def once(self, courier: Courier | None = None) -> None:
        """Deliver what is due now, once."""
        async with asyncio.TaskGroup() as group:
            await (courier or self.courier()).take(group)

    async def let_time_pass(self) -> None:
        """As if whatever messages wait for had come: the next try, or the end of the hold of a process that died."""
        await self.bench.pool.execute("update webhook_deliveries set next_at = now() where next_at is not null")

    async def deliveries(self, **filter_: object) -> list[Delivery]:
        return list(await self.webhooks.list_deliveries(TENANT, DeliveryFilter(**filter_), "", 500))

    async def delivery(self) -> Delivery:
        [delivery] = await self.deliveries()
        return delivery

    async def pauses_s(self, courier: Courier | None = None) -> tuple[float, float]:
        """Deliver what is due, once, and tell how long after that the next try is, at least and at most: the moment lies in between."""
        begun = await self.bench.pool.fetchval("select now()")
        await self.once(courier)
        ended, due = await self.bench.pool.fetchrow("select now(), next_at from webhook_deliveries")
        return (due - ended).total_seconds(), (due - begun).total_seconds()

    async def put_off(self) -> None:
        """The next try is in an hour, so that it is not due however long this test takes."""
        await self.bench.pool.execute("update webhook_deliveries set next_at = next_at + interval '1 hour'")


@asynccontextmanager
async def open_post(dsn: str, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> AsyncIterator[Post]:
    async with open_bench(dsn) as bench, HostileHttp(pages={"/ok": b"{}"}).serving() as receiver:
        await bench.register(STEPS)
        rules = EgressRules.parse([receiver.url, "*"], networks)
        async with WebhookSender.opened(rules, SystemClock()) as sender:
            store = PostgresWebhookStore(bench.pool)
            yield Post(bench, receiver, store, sender, Webhooks(store=store, receivers=sender))
