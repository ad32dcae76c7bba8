"""The statements of the call ledger."""

# $1 tenant, $2 call key, $3 run, $4 epoch, $5 grant or null, $6 whether the call may begin here, $7 call id, $8 effect, $9 tool,
# $10 tool digest, $11 call digest, $12 request digest, $13 step, $14 node, $15 agent, $16 agent version, $17 lease, $18 whether the
# commit may reach the disk a little later: should the database's machine crash before, the call was never reserved and runs again
# The parts see one snapshot. Two that reserve the same call at once meet at its primary key: the later inserts nothing, returns
# nothing, and looks again. `spent` takes the grant only together with the reservation, and again only for the same call.
RESERVE = """
with entry as (select *, lease_until > now() as held from calls where tenant = $1 and call_key = $2),
seen as (select epoch from run_epochs where tenant = $1 and run_id = $3),
raised as (
    insert into run_epochs (tenant, run_id, epoch)
    select $1, $3, $4 where not exists (select from seen where epoch >= $4)
    on conflict (tenant, run_id) do update set epoch = greatest(run_epochs.epoch, excluded.epoch)
),
fresh as (select where $6 and not exists (select from entry) and not exists (select from seen where epoch > $4)),
spent as (
    insert into spent_grants (tenant, grant_id, call_key)
    select $1, $5, $2 from fresh where $5::text is not null
    on conflict (tenant, grant_id) do update set call_key = excluded.call_key where spent_grants.call_key = excluded.call_key
    returning grant_id
),
reserved as (
    insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, grant_id, run_id, step,
                       node, agent, agent_version, epoch, lease_until)
    select $1, $2, $7, 'reserved', $8, $9, $10, $11, $12, coalesce($5, ''), $3, $13, $14, $15, $16, $4, now() + $17::interval
    from fresh where $5::text is null or exists (select from spent)
    on conflict (tenant, call_key) do nothing
    returning fence as reserved_fence
)
select (select reserved_fence from reserved),
       (select epoch from seen) as highest,
       (select call_key from spent_grants where tenant = $1 and grant_id = $5) as spent_by,
       case when $18 then set_config('synchronous_commit', 'off', true) end,
       entry.*
from (select) as one left join entry on true"""

# $1 tenant, $2 call key, $3 run
FIND = """
select (select epoch from run_epochs where tenant = $1 and run_id = $3) as highest, entry.*
from (select) as one left join (select *, lease_until > now() as held from calls where tenant = $1 and call_key = $2) as entry on true"""

# $1 tenant, $2 call key, $3 fence seen, $4 tool digest, $5 call digest, $6 grant or null, $7 step, $8 epoch, $9 lease, $10 effect
TAKE_OVER = """
with spent as (
    insert into spent_grants (tenant, grant_id, call_key)
    select $1, $6, $2 where $6::text is not null
    on conflict (tenant, grant_id) do update set call_key = excluded.call_key where spent_grants.call_key = excluded.call_key
    returning grant_id
)
update calls set fence = fence + 1, state = 'reserved', lease_until = now() + $9::interval, tool_digest = $4, call_digest = $5, step = $7, epoch = $8,
                 effect = $10, grant_id = coalesce($6, grant_id)
where tenant = $1 and call_key = $2 and fence = $3 and state in ('reserved', 'dispatched') and lease_until <= now()
  and (state = 'reserved' or effect <> 'non_idempotent')
  and ($6 is null or exists (select from spent))
returning fence"""

# $1 tenant, $2 call key, $3 fence, $4 lease
MARK_DISPATCHED = """
update calls set state = 'dispatched', lease_until = now() + $4::interval
where tenant = $1 and call_key = $2 and fence = $3 and state = 'reserved' returning true"""

# $1 tenants, $2 call keys, $3 fences, $4 lease
RENEW = """
update calls set lease_until = now() + $4::interval
from unnest($1::text[], $2::text[], $3::bigint[]) as held (tenant, call_key, fence)
where calls.tenant = held.tenant and calls.call_key = held.call_key and calls.fence = held.fence
  and calls.state in ('reserved', 'dispatched')"""

# $1 tenant, $2 call key, $3 fence, $4 state, $5 result, $6 failure, $7 attempts, $8 duration, $9 event id, $10 subject, $11 payload
# Outcome and announcement in one statement: one way to the server and one commit. The outbox is plimsoll_runtime.outbox's.
SETTLE = """
with settled as (
    update calls set state = $4, result = $5, failure = $6, attempts = $7, duration_s = $8, finished_at = now()
    where tenant = $1 and call_key = $2 and fence = $3 and state in ('reserved', 'dispatched')
    returning tenant
)
insert into outbox (event_id, subject, tenant, payload) select $9, $10, tenant, $11 from settled returning true"""

# $1 tenant, $2 call key, $3 fence
RELEASE = """
update calls set state = 'reserved', lease_until = now()
where tenant = $1 and call_key = $2 and fence = $3 and state in ('reserved', 'dispatched')"""

# $1 limit
ABANDONED = """
select *, lease_until > now() as held from calls
where state = 'dispatched' and effect = 'non_idempotent' and lease_until <= now() order by lease_until limit $1"""

# $1 tenant, $2 call key, $3 fence, $4 failure
GIVE_UP = """
update calls set state = 'unknown', failure = $4, finished_at = now(), attempts = greatest(attempts, 1),
                 duration_s = greatest(0, extract(epoch from lease_until - reserved_at))
where tenant = $1 and call_key = $2 and fence = $3 and state = 'dispatched' and lease_until <= now()
returning *"""
