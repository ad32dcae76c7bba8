"""Webhooks and their messages in PostgreSQL. A trigger on `runs` makes the messages, in the transaction that ends a run."""

from collections.abc import Mapping, Sequence

import asyncpg
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.settings import Secret

from plimsoll_orchestrator.domain.journal import RunFinished, RunStatus, decode_entry
from plimsoll_orchestrator.domain.webhook import DeliveryStatus, Ended, Webhook
from plimsoll_orchestrator.errors import JournalBroken, TooMany, WebhookDisabled
from plimsoll_orchestrator.ports.webhooks import Delivery, DeliveryFilter, KeptWebhook, Outcome, Parcel

_MOST = 100  # of a tenant
_AT_ONCE = 4  # messages to one webhook that a process sends side by side; one, while it fails

_COLUMNS = "name, url, agent, statuses, disabled, created_at"
_PUT = f"""
insert into webhooks as w (tenant, name, url, agent, statuses, disabled, secret)
select $1, $2, $3, $4, $5, $6, $7
where exists (select 1 from webhooks where tenant = $1 and name = $2) or (select count(*) from webhooks where tenant = $1) < {_MOST}
on conflict (tenant, name) do update
set url = excluded.url, agent = excluded.agent, statuses = excluded.statuses, disabled = excluded.disabled, failures = 0, updated_at = now(),
    secret = case when $8 then excluded.secret else w.secret end,
    old_secret = case when $8 then w.secret else w.old_secret end,
    old_secret_until = case when $8 then now() + interval '1 day' else w.old_secret_until end
returning {_COLUMNS}, secret = $7 as is_new
"""

_DELETE = """
with gone as (
    delete from webhooks where tenant = $1 and name = $2 returning name
), unsent as (
    delete from webhook_deliveries where tenant = $1 and webhook = $2
)
select name from gone
"""

_DELIVERY = "delivery_id, webhook, run_id, status, attempts, last_result, created_at, next_at, delivered_at"
_DELIVERIES = f"""
select {_DELIVERY} from webhook_deliveries
where tenant = $1 and ($2 = '' or webhook = $2) and ($3 = '' or run_id = $3) and ($4 = '' or status = $4)
  and ($5 = '' or position < (select position from webhook_deliveries where tenant = $1 and delivery_id = $5))
order by position desc limit $6
"""

_REPLAY = f"""
update webhook_deliveries d
set status = 'pending', attempts = 0, next_at = now(), delivered_at = null
from webhooks w where w.tenant = d.tenant and w.name = d.webhook and not w.disabled and d.tenant = $1 and d.delivery_id = $2
returning {", ".join(f"d.{name}" for name in _DELIVERY.split(", "))}
"""

# A few of each webhook, the longest due first: however much waits for one that is slow, those of the others are taken as well.
_CLAIM = f"""
with busy as (
    select * from unnest($2::text[], $3::text[], $4::bigint[]) as b (tenant, name, messages)
), picked as (
    select d.delivery_id from webhooks w
    left join busy b on b.tenant = w.tenant and b.name = w.name
    cross join lateral (
        select delivery_id, next_at from webhook_deliveries
        where tenant = w.tenant and webhook = w.name and next_at <= now()
        order by next_at limit greatest(0, case when w.failures > 0 then 1 else {_AT_ONCE} end - coalesce(b.messages, 0))
        for update skip locked
    ) d
    where not w.disabled order by d.next_at limit $1
), taken as (
    update webhook_deliveries d set claim = d.claim + 1, attempts = d.attempts + 1, next_at = now() + interval '1 minute'
    from picked where d.delivery_id = picked.delivery_id
    returning d.delivery_id, d.tenant, d.webhook, d.run_id, d.claim, d.attempts
)
select t.*, w.url, w.secret, case when w.old_secret_until > now() then w.old_secret else '' end as old_secret,
    r.agent, r.thread_id, r.finished_at, j.entry
from taken t
join webhooks w on w.tenant = t.tenant and w.name = t.webhook
left join runs r on r.run_id = t.run_id
left join journal j on j.run_id = r.run_id and j.seq = r.seq
"""

_RECORD = """
with recorded as (
    update webhook_deliveries set status = $3, last_result = $4, next_at = now() + make_interval(secs => $5),
        delivered_at = case when $3 = 'delivered' then now() end
    where delivery_id = $1 and claim = $2
    returning tenant, webhook
)
update webhooks w set failures = case when $3 = 'delivered' then 0 else w.failures + 1 end, disabled = w.disabled or $6
from recorded r where w.tenant = r.tenant and w.name = r.webhook and (w.failures > 0 or $3 <> 'delivered')
"""


class PostgresWebhookStore:
    """The WebhookStore and the DueDeliveries."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put(self, tenant: str, webhook: Webhook, secret: Secret, *, rotate: bool) -> tuple[KeptWebhook, bool]:
        with translating():
            row = await self._pool.fetchrow(
                _PUT,
                tenant,
                webhook.name,
                webhook.url,
                webhook.agent,
                [status.value for status in webhook.statuses],
                webhook.disabled,
                secret.reveal(),
                rotate,
            )
        if row is None:
            raise TooMany(f"there are {_MOST} webhooks already", remedy="delete one that is not needed")
        return _kept(row), row["is_new"]

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[KeptWebhook]:
        with translating():
            rows = await self._pool.fetch(
                f"select {_COLUMNS} from webhooks where tenant = $1 and name > $2 order by name limit $3", tenant, after, limit
            )
        return [_kept(row) for row in rows]

    async def delete(self, tenant: str, name: str) -> bool:
        with translating():
            return await self._pool.fetchval(_DELETE, tenant, name) is not None

    async def deliveries(self, tenant: str, filter_: DeliveryFilter, before: str, limit: int) -> Sequence[Delivery]:
        status = filter_.status.value if filter_.status else ""
        with translating():
            rows = await self._pool.fetch(_DELIVERIES, tenant, filter_.webhook, filter_.run_id, status, before, limit)
        return [_delivery(row) for row in rows]

    async def replay(self, tenant: str, delivery_id: str) -> Delivery | None:
        with translating():
            row = await self._pool.fetchrow(_REPLAY, tenant, delivery_id)
            if row is not None:
                return _delivery(row)
            found = await self._pool.fetchval(
                "select webhook from webhook_deliveries where tenant = $1 and delivery_id = $2", tenant, delivery_id
            )
        if found is not None:
            raise WebhookDisabled(f"the webhook {found!r} is disabled", remedy="put it again without `disabled`, then replay")
        return None

    async def claim(self, limit: int, busy: Mapping[tuple[str, str], int]) -> Sequence[Parcel]:
        tenants, names = [tenant for tenant, _ in busy], [name for _, name in busy]
        with translating():
            rows = await self._pool.fetch(_CLAIM, limit, tenants, names, list(busy.values()))
        return [_parcel(row) for row in rows]

    async def record(self, parcel: Parcel, outcome: Outcome) -> None:
        with translating():
            await self._pool.execute(
                _RECORD, parcel.delivery_id, parcel.claim, outcome.status.value, outcome.result, outcome.again_s, outcome.gone
            )


def _kept(row: asyncpg.Record) -> KeptWebhook:
    webhook = Webhook(
        name=row["name"],
        url=row["url"],
        agent=row["agent"],
        statuses=tuple(RunStatus(status) for status in row["statuses"]),
        disabled=row["disabled"],
    )
    return KeptWebhook(webhook=webhook, created_at=row["created_at"])


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        webhook=row["webhook"],
        run_id=row["run_id"],
        status=DeliveryStatus(row["status"]),
        attempts=row["attempts"],
        last_result=row["last_result"],
        created_at=row["created_at"],
        next_at=row["next_at"],
        delivered_at=row["delivered_at"],
    )


def _parcel(row: asyncpg.Record) -> Parcel:
    return Parcel(
        delivery_id=row["delivery_id"],
        tenant=row["tenant"],
        webhook=row["webhook"],
        url=row["url"],
        secrets=tuple(Secret(text) for text in (row["secret"], row["old_secret"]) if text),
        claim=row["claim"],
        tries=row["attempts"],
        ended=_ended(row),
    )


def _ended(row: asyncpg.Record) -> Ended | None:
    try:
        entry = decode_entry(row["entry"]) if row["entry"] else None
    except JournalBroken:  # it must not hold up the messages of others
        return None
    if not isinstance(entry, RunFinished):
        return None
    return Ended(
        run_id=row["run_id"],
        agent=row["agent"],
        status=entry.status,
        thread_id=row["thread_id"],
        finished_at=row["finished_at"],
        output=entry.output,
        failure=entry.failure,
    )
