"""Requests about webhooks: what is refused, what is listed, and what only its tenant sees."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from orchestrator_fakes import TENANT
from orchestrator_post import Post, open_post
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_pb2, webhook_pb2
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.errors import DeliveryNotFound, InvalidWebhook, TooMany, WebhookNotFound
from plimsoll_orchestrator.ports.webhooks import DeliveryFilter
from plimsoll_orchestrator.service.webhooks import Webhooks
from plimsoll_orchestrator.transport.webhook_rpcs import WebhookRpcs
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Invalid


@pytest.fixture
async def post(postgres_dsn: str) -> AsyncIterator[Post]:
    async with open_post(postgres_dsn) as post:
        yield post


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3/hook",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://100.64.0.1/",
        "http://93.184.216.34/",
        "https://93.184.216.34:22/",
        "https://user:pw@93.184.216.34/",
        "https://2130706433/",
        "ftp://93.184.216.34/",
        "file:///etc/passwd",
        "/hook",
        "https://",
        "https://" + "a" * 9000 + ".example/",
    ],
)
async def test_a_webhook_to_an_address_that_may_not_be_called_is_refused_when_it_is_put(postgres_dsn: str, url: str) -> None:
    async with open_post(postgres_dsn, networks=()) as post:
        with pytest.raises(InvalidWebhook) as refused:
            await post.put(url=url)
        [problem] = refused.value.problems
        assert problem.field == "webhook.url"
        assert problem.remedy
        assert refused.value.reason == "EGRESS_REFUSED"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": "Not A Name"}, "webhook.name"),
        ({"agent": "Not An Agent"}, "webhook.agent"),
        ({"statuses": (RunStatus.RUNNING,)}, "webhook.statuses"),
        ({"url": "https://no-such-host.invalid/"}, "webhook.url"),
    ],
)
async def test_a_webhook_with_a_wrong_field_is_refused_with_the_field(post: Post, change: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        await post.put(**change)  # type: ignore[arg-type] # fields of a webhook
    assert [problem.field for problem in refused.value.problems] == [place]


async def test_a_tenant_has_a_hundred_webhooks_at_most(post: Post) -> None:
    await post.put()
    await post.bench.pool.execute(
        "insert into webhooks (tenant, name, url, agent, statuses, disabled, secret)"
        " select tenant, 'x' || n, url, agent, statuses, disabled, secret from webhooks, generate_series(2, 100) n"
    )
    with pytest.raises(TooMany):
        await post.put(name="one-more")


async def test_a_webhook_that_is_deleted_takes_its_messages_with_it(post: Post) -> None:
    await post.put()
    await post.end_run()
    with pytest.raises(WebhookNotFound):
        await post.webhooks.delete_webhook("other", "hook")
    await post.webhooks.delete_webhook(TENANT, "hook")
    assert await post.deliveries() == []
    with pytest.raises(WebhookNotFound):
        await post.webhooks.delete_webhook(TENANT, "hook")


async def test_nobody_replays_what_belongs_to_another_tenant(post: Post) -> None:
    await post.put()
    await post.end_run()
    delivery = await post.delivery()
    with pytest.raises(DeliveryNotFound):
        await post.webhooks.replay_delivery("other", delivery.delivery_id)
    assert await post.webhooks.list_deliveries("other", DeliveryFilter(), "", 10) == []


class _Rpcs(WebhookRpcs):
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks


async def test_over_grpc_lists_go_page_by_page_newest_first_and_no_answer_but_one_holds_a_secret(post: Post) -> None:
    rpcs = _Rpcs(post.webhooks)
    sent = webhook_pb2.Webhook(name="hook", url=post.receiver.url + "/ok", agent="steps", statuses=[run_pb2.RUN_STATUS_CANCELLED])
    with acting_for(TENANT):
        made = await rpcs.PutWebhook(pb.PutWebhookRequest(webhook=sent), None)
        assert made.secret.startswith("whsec_")
        assert made.webhook.create_time.ToDatetime(UTC) <= datetime.now(UTC)
        assert not (await rpcs.PutWebhook(pb.PutWebhookRequest(webhook=sent), None)).secret
        assert (await rpcs.ListWebhooks(pb.ListWebhooksRequest(), None)).webhooks == [made.webhook]
        runs = [await post.end_run() for _ in range(3)]
        first = await rpcs.ListWebhookDeliveries(pb.ListWebhookDeliveriesRequest(webhook="hook", page_size=2), None)
        second = await rpcs.ListWebhookDeliveries(
            pb.ListWebhookDeliveriesRequest(webhook="hook", page_size=2, page_token=first.next_page_token), None
        )
        assert [one.run_id for page in (first, second) for one in page.deliveries] == runs[::-1]
        only = await rpcs.ListWebhookDeliveries(
            pb.ListWebhookDeliveriesRequest(run_id=runs[0], status=webhook_pb2.DELIVERY_STATUS_PENDING), None
        )
        assert [one.run_id for one in only.deliveries] == [runs[0]]
        again = await rpcs.ReplayWebhookDelivery(pb.ReplayWebhookDeliveryRequest(delivery_id=only.deliveries[0].delivery_id), None)
        assert again.delivery.status == webhook_pb2.DELIVERY_STATUS_PENDING
        with pytest.raises(Invalid, match="status"):
            await rpcs.ListWebhookDeliveries(pb.ListWebhookDeliveriesRequest(status=9), None)  # type: ignore[arg-type] # on purpose
        await rpcs.DeleteWebhook(pb.DeleteWebhookRequest(name="hook"), None)
