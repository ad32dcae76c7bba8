"""What is no longer kept in PostgreSQL. Several processes may work side by side: what one holds, the others leave out."""

import asyncpg
from plimsoll_runtime.postgres import translating

# A run whose journal waits to be published is left alone, and so is one that an unfinished run started.
_SETTLED = """
r.finished_at < now() - make_interval(secs => $1)
and not exists (select 1 from runs p where p.run_id = r.parent_run_id and r.parent_run_id <> '' and p.finished_at is null)
and not exists (select 1 from journal_outbox o where r.run_id = any (o.run_ids))
"""

_RETIRE_JOURNALS = f"""
with old as (
    select r.run_id, r.tenant, r.seq from runs r where {_SETTLED} and r.finished_at is not null and r.pruned_seq = 0 and r.seq > 1
    order by r.finished_at limit $2 for update of r skip locked
), marked as (
    update runs r set pruned_seq = old.seq - 1 from old where r.run_id = old.run_id
), without as (
    delete from snapshots s using old where s.run_id = old.run_id
), noted as (
    insert into retired_journals (run_id, tenant, next_seq, last_seq) select run_id, tenant, 1, seq - 1 from old
    on conflict (run_id) do nothing
)
select count(*) from old
"""

_FORGET_RUNS = f"""
with old as (
    select r.run_id, r.tenant, r.seq, r.pruned_seq from runs r where {_SETTLED} and r.finished_at is not null
      and not exists (select 1 from webhook_deliveries d where d.run_id = r.run_id and d.next_at is not null)
    order by r.finished_at limit $2 for update of r skip locked
), gone as (
    delete from runs r using old where r.run_id = old.run_id
), snapshots_gone as (
    delete from snapshots s using old where s.run_id = old.run_id
), approvals_gone as (
    delete from approvals a using old where a.run_id = old.run_id
), mail_gone as (
    delete from mail m using old where m.run_id = old.run_id
), steered_gone as (
    delete from steered s using old where s.run_id = old.run_id
), deliveries_gone as (
    delete from webhook_deliveries d using old where d.run_id = old.run_id
), noted as (
    insert into retired_journals (run_id, tenant, next_seq, last_seq) select run_id, tenant, pruned_seq + 1, seq from old
    on conflict (run_id) do update set last_seq = excluded.last_seq
)
select count(*) from old
"""

_ERASE_JOURNALS = """
with taken as (
    select run_id, next_seq, last_seq from retired_journals order by run_id limit $1 for update skip locked
), erased as (
    delete from journal j using taken t where j.run_id = t.run_id and j.seq >= t.next_seq and j.seq < t.next_seq + $2 and j.seq <= t.last_seq
), done as (
    delete from retired_journals r using taken t where r.run_id = t.run_id and t.next_seq + $2 > t.last_seq
), further as (
    update retired_journals r set next_seq = t.next_seq + $2 from taken t where r.run_id = t.run_id and t.next_seq + $2 <= t.last_seq
)
select count(*) from taken
"""

_FORGET_DELIVERIES = """
with old as (
    select delivery_id from webhook_deliveries
    where next_at is null and created_at < now() - make_interval(secs => $1) order by created_at limit $2 for update skip locked
), gone as (
    delete from webhook_deliveries d using old where d.delivery_id = old.delivery_id
)
select count(*) from old
"""


class PostgresRetention:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def retire_journals(self, older_s: float, limit: int) -> int:
        return await self._count(_RETIRE_JOURNALS, older_s, limit)

    async def forget_runs(self, older_s: float, limit: int) -> int:
        return await self._count(_FORGET_RUNS, older_s, limit)

    async def erase_journals(self, runs: int, entries: int) -> int:
        return await self._count(_ERASE_JOURNALS, runs, entries)

    async def forget_deliveries(self, older_s: float, limit: int) -> int:
        return await self._count(_FORGET_DELIVERIES, older_s, limit)

    async def _count(self, statement: str, *arguments: float) -> int:
        with translating():
            return int(await self._pool.fetchval(statement, *arguments))
