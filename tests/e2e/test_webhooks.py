"""A program outside is told that runs finished: signed, tried again, and again on demand under the same id."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from doors import cli, send
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus
from plimsoll_client.options import RunOptions
from plimsoll_client.webhooks import Delivery, DeliveryStatus, WebhookDraft
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("provider")]
AGENT = Path(__file__).parent / "agents" / "ledger"


@dataclass(slots=True)
class Receiver:
    """A program that is told; it answers with `statuses` in turn, and then with 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    told: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.told.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    def is_signed_with(self, secret: str, number: int) -> bool:
        """Whether a message bears the mark of `secret`, by the rules of Standard Webhooks."""
        headers, body = self.told[number]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mark = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return mark in headers["webhook-signature"].split(" ")


@dataclass(frozen=True, slots=True)
class Shop:
    """A mesh with a receiver that it may tell, and the secret that the receiver was given."""

    mesh: Mesh
    client: Client
    http: aiohttp.ClientSession
    receiver: Receiver
    secret: str

    async def settled(self, run_id: str, status: DeliveryStatus) -> Delivery:
        """The delivery about a run, once it was tried and is in this state."""
        found: list[Delivery] = []

        async def is_there() -> bool:
            found[:] = await self.client.webhooks.deliveries(webhook="shop", run_id=run_id, status=status)
            return bool(found) and found[0].attempts > 0 and bool(found[0].last_result)  # counted when it is sent, told when it came back

        await eventually(is_there)
        return found[0]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    receiver.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/hook"  # type: ignore[attr-defined]
    environ = {
        "PATH": "/usr/bin:/bin",
        "PLIMSOLL_ORCHESTRATOR_WEBHOOK_ORIGINS": receiver.url.removesuffix("/hook"),
        "PLIMSOLL_ORCHESTRATOR_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    async with (
        Mesh(Wanted(data=tmp_path_factory.mktemp("shop"), agents=AGENT, environ=environ)) as mesh,
        connect(address=mesh.grpc_address, api_key=mesh.api_key) as client,
        aiohttp.ClientSession(mesh.http_url, headers={"Authorization": f"Bearer {mesh.api_key}"}) as http,
    ):
        said = await cli(mesh.wanted.data, "webhooks", "put", "shop", "--url", receiver.url, "--agent", "ledger", "--on", "succeeded")
        assert said.code == 0, said.err
        yield Shop(mesh, client, http, receiver, said.out.strip())
    await runner.cleanup()


async def test_a_secret_is_told_once(shop: Shop) -> None:
    assert shop.secret.startswith("whsec_")
    draft = WebhookDraft(name="shop", url=shop.receiver.url, agent="ledger", statuses=(RunStatus.SUCCEEDED,))
    assert (await shop.client.webhooks.put(draft)).secret == ""
    listed = await cli(shop.mesh.wanted.data, "webhooks", "list", "--json")
    assert "whsec" not in listed.out
    assert [one["draft"]["url"] for one in json.loads(listed.out)] == [shop.receiver.url]


async def test_a_receiver_is_told_of_the_ends_that_it_wants_to_hear_of_and_can_check_who_says_so(shop: Shop) -> None:
    called_off = await shop.client.runs.submit("ledger", {"n": 1}, options=RunOptions(start_at=datetime.now(UTC) + timedelta(hours=1)))
    await shop.client.runs.cancel(called_off.id)
    run = await shop.client.runs.submit("ledger", {"n": 2})
    delivery = await shop.settled(run.id, DeliveryStatus.DELIVERED)
    headers, body = shop.receiver.told[-1]
    message = json.loads(body)
    assert headers["webhook-id"] == delivery.id
    assert (message["type"], message["data"]["run_id"]) == ("run.succeeded", run.id)
    assert message["data"]["output"] == {"told": "it is 4"}
    assert shop.receiver.is_signed_with(shop.secret, -1)
    assert await shop.client.webhooks.deliveries(run_id=called_off.id) == []


async def test_a_replay_is_the_same_message_under_the_same_id_and_a_new_secret_signs_beside_the_old_one(shop: Shop) -> None:
    run = await shop.client.runs.submit("ledger", {"n": 5})
    delivery = await shop.settled(run.id, DeliveryStatus.DELIVERED)
    first, heard = shop.receiver.told[-1], len(shop.receiver.told)
    kept: JsonObject = {"url": shop.receiver.url, "agent": "ledger", "statuses": ["RUN_STATUS_SUCCEEDED"]}
    new = str((await send(shop.http, "PUT", "/v1/webhooks/shop?rotate=true", kept))["secret"])
    assert new != shop.secret
    replayed = await send(shop.http, "POST", f"/v1/deliveries/{delivery.id}:replay")
    assert replayed["delivery"]["deliveryId"] == delivery.id  # type: ignore[index, call-overload]
    await eventually(lambda: len(shop.receiver.told) > heard)
    again = shop.receiver.told[-1]
    assert (again[0]["webhook-id"], again[1]) == (first[0]["webhook-id"], first[1])
    assert shop.receiver.is_signed_with(new, -1)
    assert shop.receiver.is_signed_with(shop.secret, -1)


async def test_a_message_that_was_refused_waits_for_its_next_try_and_can_be_sent_at_once(shop: Shop) -> None:
    shop.receiver.statuses = [503]
    run = await shop.client.runs.submit("ledger", {"n": 3})
    waiting = await shop.settled(run.id, DeliveryStatus.PENDING)
    assert (waiting.attempts, "503" in waiting.last_result) == (1, True)
    assert waiting.next_at is not None
    data = shop.mesh.wanted.data
    assert "pending" in (await cli(data, "webhooks", "deliveries", "--run", run.id)).out
    said = await cli(data, "webhooks", "replay", waiting.id)
    assert said.code == 0, said.err
    assert (await shop.settled(run.id, DeliveryStatus.DELIVERED)).id == waiting.id


async def test_a_webhook_that_is_deleted_hears_no_more(shop: Shop) -> None:
    heard = len(shop.receiver.told)
    assert (await cli(shop.mesh.wanted.data, "webhooks", "delete", "shop")).code == 0
    assert await shop.client.webhooks.list() == []
    run = await shop.client.runs.submit("ledger", {"n": 3})
    await shop.client.runs.wait(run.id)
    assert await shop.client.webhooks.deliveries(run_id=run.id) == []
    assert len(shop.receiver.told) == heard
