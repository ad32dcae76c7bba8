"""Completion webhooks against a real database and a receiver that misbehaves."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import TENANT
from orchestrator_post import Post, open_post
from plimsoll_orchestrator.adapters.postgres_webhooks import PostgresWebhookStore
from plimsoll_orchestrator.adapters.webhook_sender import WebhookSender
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.webhook import RETRIES_S, DeliveryStatus
from plimsoll_orchestrator.errors import WebhookDisabled
from plimsoll_orchestrator.ports.webhooks import Outcome, Parcel
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.egress import EgressRules
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.hostile_http import Received
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def post(postgres_dsn: str) -> AsyncIterator[Post]:
    async with open_post(postgres_dsn) as post:
        yield post


def is_signed(request: Received, secret: str) -> bool:
    """As a receiver checks it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return wanted in request.headers["webhook-signature"].split(" ")


async def test_the_end_of_a_run_is_told_signed_with_its_output(post: Post) -> None:
    secret = await post.put()
    view = await post.bench.run("steps", {"canary": "c1"})
    await post.once()
    [request] = post.receiver.received
    told = json.loads(request.body)
    assert is_signed(request, secret)
    assert request.headers["content-type"] == "application/json"
    assert told["type"] == "run.succeeded"
    assert told["data"]["run_id"] == view.summary.run_id
    assert told["data"]["output"] == view.run.output == {"canary": "c1", "seen": ["c1", "c1", "c1"]}
    delivery = await post.delivery()
    assert (delivery.delivery_id, delivery.status) == (request.headers["webhook-id"], DeliveryStatus.DELIVERED)
    assert (delivery.attempts, delivery.last_result, delivery.next_at) == (1, "answered 200", None)
    assert delivery.delivered_at is not None
    await post.once()
    assert len(post.receiver.received) == 1


async def test_only_what_a_webhook_asks_for_is_told_to_it(post: Post) -> None:
    await post.put(name="all")
    await post.put(name="steps-only", agent="steps")
    await post.put(name="other-agent", agent="greets")
    await post.put(name="cancelled", statuses=(RunStatus.CANCELLED, RunStatus.FAILED))
    await post.put(name="succeeded", statuses=(RunStatus.SUCCEEDED,))
    await post.put(name="off", disabled=True)
    await post.end_run()
    assert {delivery.webhook for delivery in await post.deliveries()} == {"all", "steps-only", "cancelled"}


async def test_runs_of_other_tenants_and_runs_that_runs_started_are_not_told(post: Post) -> None:
    await post.put()
    child, foreign = await post.bench.start("steps", {"canary": "c"}), await post.bench.start("steps", {"canary": "c"})
    await post.bench.pool.execute("update runs set parent_run_id = 'run_0' where run_id = $1", child)
    await post.bench.control.cancel_run(TENANT, child, "", "")
    await post.bench.pool.execute("update runs set tenant = 'other', finished_at = now() where run_id = $1", foreign)
    assert await post.deliveries() == []


async def test_an_end_that_was_not_committed_is_not_told(post: Post) -> None:
    await post.put()
    run_id = await post.bench.start("steps", {"canary": "c"})
    async with post.bench.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("update runs set finished_at = now() where run_id = $1", run_id)
        assert await connection.fetchval("select count(*) from webhook_deliveries") == 1
        await transaction.rollback()
    assert await post.deliveries() == []


async def test_a_secret_is_told_once_and_two_sign_for_a_day_while_it_is_replaced(post: Post) -> None:
    first = await post.put()
    assert first.startswith("whsec_")
    assert await post.put() == ""
    second = await post.put(rotate=True)
    assert second not in {"", first}
    await post.end_run()
    await post.once()
    await post.bench.pool.execute("update webhooks set old_secret_until = old_secret_until - interval '1 day'")
    await post.end_run()
    await post.once()
    both, only = post.receiver.received
    assert (is_signed(both, first), is_signed(both, second)) == (True, True)
    assert (is_signed(only, first), is_signed(only, second)) == (False, True)
    listed = await post.webhooks.list_webhooks(TENANT, "", 10)
    assert not any(secret in repr(listed) for secret in (first, second))


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/status/500", "answered 500"),
        ("/status/404", "answered 404"),
        ("/redirect?to=/ok&status=302", "answered 302; redirects are not followed"),
        ("/redirect?to=/ok&status=307", "answered 307; redirects are not followed"),
        ("/dead", "CONNECTION_BROKEN: the connection broke before the answer ended"),
        ("/not-http", "ANSWER_UNFIT: the answer is not HTTP as it should be"),
        ("/huge", "ANSWER_UNFIT: the answer is longer than 1048576 bytes"),
    ],
)
async def test_what_is_not_taken_is_sent_again_under_the_same_id(post: Post, path: str, result: str) -> None:
    await post.put(path)
    await post.end_run()
    least, most = await post.pauses_s()
    delivery = await post.delivery()
    assert (delivery.status, delivery.attempts, delivery.last_result) == (DeliveryStatus.PENDING, 1, result)
    assert least <= RETRIES_S[0] <= most
    await post.put("/ok")
    await post.put_off()
    await post.once()
    assert (await post.delivery()).attempts == 1  # it is not due yet
    await post.let_time_pass()
    await post.once()
    assert (await post.delivery()).status is DeliveryStatus.DELIVERED
    first, second = post.receiver.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


async def test_after_the_last_try_a_message_is_dead_and_can_be_replayed(post: Post) -> None:
    await post.put("/status/503")
    await post.end_run()
    for pause_s in RETRIES_S:
        least, most = await post.pauses_s()
        assert least <= pause_s <= most
        await post.let_time_pass()
    await post.once()
    [dead] = await post.deliveries(status=DeliveryStatus.DEAD)
    assert (dead.attempts, dead.next_at) == (len(RETRIES_S) + 1, None)
    await post.put("/ok")
    replayed = await post.webhooks.replay_delivery(TENANT, dead.delivery_id)
    assert (replayed.status, replayed.attempts) == (DeliveryStatus.PENDING, 0)
    await post.once()
    assert (await post.delivery()).status is DeliveryStatus.DELIVERED
    assert {request.headers["webhook-id"] for request in post.receiver.received} == {dead.delivery_id}


async def test_what_a_receiver_asks_for_by_retry_after_is_waited_for(post: Post) -> None:
    await post.put("/status/429?retry-after=90")
    await post.end_run()
    least, most = await post.pauses_s()
    assert least <= 90 <= most


async def test_a_receiver_that_is_gone_is_told_nothing_more_until_it_is_put_again(post: Post) -> None:
    await post.put("/status/410")
    await post.end_run()
    await post.once()
    gone = await post.delivery()
    assert (gone.status, gone.last_result) == (DeliveryStatus.DEAD, "answered 410: the webhook is disabled now")
    [kept] = await post.webhooks.list_webhooks(TENANT, "", 10)
    assert kept.webhook.disabled
    await post.end_run()
    assert len(await post.deliveries()) == 1
    with pytest.raises(WebhookDisabled):
        await post.webhooks.replay_delivery(TENANT, gone.delivery_id)
    await post.put("/ok")
    await post.webhooks.replay_delivery(TENANT, gone.delivery_id)
    await post.once()
    assert (await post.delivery()).status is DeliveryStatus.DELIVERED


class _Dying(PostgresWebhookStore):
    """Its process dies between sending and recording."""

    async def record(self, parcel: Parcel, outcome: Outcome) -> None:
        raise Unavailable


async def test_a_crash_between_sending_and_recording_sends_again_under_the_same_id(post: Post) -> None:
    await post.put()
    await post.end_run()
    least, most = await post.pauses_s(post.courier(_Dying(post.bench.pool)))
    assert least <= 60 <= most
    await post.once()
    assert len(post.receiver.received) == 1  # the dead process still holds it
    await post.let_time_pass()
    await post.once()
    assert len({request.headers["webhook-id"] for request in post.receiver.received}) == 1
    assert [len(post.receiver.received), (await post.delivery()).status] == [2, DeliveryStatus.DELIVERED]


async def test_who_lost_its_hold_records_nothing(post: Post) -> None:
    await post.put()
    await post.end_run()
    [late] = await post.store.claim(10, {})
    await post.let_time_pass()
    await post.once()
    await post.store.record(late, Outcome(status=DeliveryStatus.DEAD, result="too late"))
    assert (await post.delivery()).status is DeliveryStatus.DELIVERED


async def test_two_couriers_side_by_side_send_each_message_once(post: Post) -> None:
    for name in ("a", "b", "c"):
        await post.put(name=name)
    for _ in range(10):
        await post.end_run()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(post.courier().run(stop))
        await eventually(lambda: _all_settled(post))
        stop.set()
    sent = Counter(request.headers["webhook-id"] for request in post.receiver.received)
    assert (len(sent), set(sent.values())) == (30, {1})


async def _all_settled(post: Post) -> bool:
    return all(delivery.next_at is None for delivery in await post.deliveries())


async def test_one_slow_receiver_never_delays_another(post: Post) -> None:
    await post.put("/hang", name="slow")
    for _ in range(40):
        await post.end_run()
    await post.put("/ok", name="quick")
    await post.end_run()
    stop, courier = asyncio.Event(), post.courier()
    async with asyncio.TaskGroup() as group:
        group.create_task(courier.run(stop))
        await eventually(lambda: "/ok" in post.receiver.paths())
        for _ in range(3):
            await post.end_run()
        await eventually(lambda: post.receiver.paths().count("/ok") == 4)
        assert post.receiver.paths().count("/hang") == 4  # what one webhook has under way at most
        stop.set()
        post.receiver.hung.set()


async def test_a_receiver_that_fails_has_one_message_under_way_at_a_time(post: Post) -> None:
    await post.put("/status/500")
    await post.end_run()
    await post.once()
    for _ in range(5):
        await post.end_run()
    await post.once()
    assert len(post.receiver.received) == 2
    await post.put("/ok")
    await post.once()
    assert len(post.receiver.received) == 6


async def test_an_address_is_judged_again_when_something_is_sent(post: Post) -> None:
    """What its name led to when it was put says nothing about where it leads now."""
    await post.put()
    await post.end_run()
    async with WebhookSender.opened(EgressRules.parse([post.receiver.url]), SystemClock()) as strict:
        await post.once(post.courier(sender=strict))
    assert post.receiver.received == []
    assert (await post.delivery()).last_result.startswith("EGRESS_REFUSED: ")


async def test_a_run_whose_end_cannot_be_read_is_given_up_and_holds_up_no_other(post: Post) -> None:
    await post.put()
    gone, broken, _ = [await post.end_run() for _ in range(3)]
    await post.bench.pool.execute("delete from runs where run_id = $1", gone)
    await post.bench.pool.execute('update journal set entry = \'{"kind": "of another version"}\' where run_id = $1', broken)
    await post.once()
    statuses = {delivery.run_id: delivery.status for delivery in await post.deliveries()}
    assert (statuses[gone], statuses[broken]) == (DeliveryStatus.DEAD, DeliveryStatus.DEAD)
    assert list(statuses.values()).count(DeliveryStatus.DELIVERED) == 1
