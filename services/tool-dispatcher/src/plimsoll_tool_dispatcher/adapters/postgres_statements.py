"""The statements of the call ledger."""

import re

_ROWS = re.compile(r"select \* from unnest\((?P<columns>[^)]*)\)\s+as \w \((?P<names>[^)]*)\)")


def _of_one(many: str) -> str:
    """The same statement for a single row, of plain values: without arrays the server plans and does a third less."""
    rows = _ROWS.search(many)
    assert rows is not None
    columns = (column.strip().removesuffix("[]") for column in rows["columns"].split(","))
    names = (name.strip() for name in rows["names"].split(","))
    return _ROWS.sub(lambda _: "select " + ", ".join(f"{column} as {name}" for column, name in zip(columns, names, strict=True)), many)


# One row per call: $1 number, $2 tenant, $3 call key, $4 run, $5 epoch, $6 call id, $7 effect, $8 tool, $9 tool digest, $10 call digest,
# $11 request digest, $12 step, $13 node, $14 agent, $15 agent version, $16 lease, $17 policy, $18 rules, $19 labels, $20 arguments.
# Commits may reach the disk a little later: should the database's machine crash before, the calls were never reserved and run again; one
# that must not run twice is made durable by its dispatch mark.
# The parts see one snapshot. Two that reserve the same call at once meet at its primary key: the later inserts nothing and looks again.
RESERVE_MANY = """
with asked as (
    select * from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
                         $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::interval[], $17::text[],
                         $18::text[], $19::text[], $20::text[])
        as a (n, tenant, call_key, run_id, epoch, call_id, effect, tool, tool_digest, call_digest, request_digest, step, node, agent,
              agent_version, lease, policy, rules, labels, arguments)
),
entry as (
    select a.n as nth, c.*, c.lease_until > now() as held
    from asked a join calls c on c.tenant = a.tenant and c.call_key = a.call_key
),
seen as (
    select a.n as nth, e.epoch as highest, e.labels as read
    from asked a join run_epochs e on e.tenant = a.tenant and e.run_id = a.run_id
),
raised as (
    insert into run_epochs (tenant, run_id, epoch, labels)
    select a.tenant, a.run_id, max(a.epoch), array_remove(array_agg(distinct label), null)
    from asked a left join seen s on s.nth = a.n left join lateral unnest(string_to_array(a.labels, ',')) label on true
    where s.nth is null or s.highest < a.epoch or (s.highest = a.epoch and not s.read @> string_to_array(a.labels, ','))
    group by a.tenant, a.run_id order by a.tenant, a.run_id
    on conflict (tenant, run_id) do update set epoch = greatest(run_epochs.epoch, excluded.epoch), touched_at = now(),
        labels = array(select distinct label from unnest(run_epochs.labels || excluded.labels) label order by label)
),
reserved as (
    insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, run_id, step, node, agent,
                       agent_version, epoch, lease_until, policy, rules, arguments)
    select a.tenant, a.call_key, a.call_id, 'reserved', a.effect, a.tool, a.tool_digest, a.call_digest, a.request_digest, a.run_id, a.step,
           a.node, a.agent, a.agent_version, a.epoch, now() + a.lease, a.policy, a.rules, a.arguments
    from asked a left join entry e on e.nth = a.n left join seen s on s.nth = a.n
    where e.nth is null and (s.highest is null or s.highest <= a.epoch)
    order by a.tenant, a.call_key
    on conflict (tenant, call_key) do nothing
    returning tenant, call_key, call_id, fence as reserved_fence
)
select a.n, r.reserved_fence, s.highest, set_config('synchronous_commit', 'off', true), entry.call_id, entry.state, entry.request_digest,
       entry.fence, entry.tool, entry.effect, entry.call_digest, entry.held, entry.degraded, entry.failure, entry.result, entry.attempts,
       entry.duration_s
from asked a
left join reserved r on r.tenant = a.tenant and r.call_key = a.call_key and r.call_id = a.call_id
left join seen s on s.nth = a.n
left join entry on entry.nth = a.n
order by a.n"""
RESERVE_ONE = _of_one(RESERVE_MANY)

# What is known about calls that need no reservation, and the epochs of their runs raised: $1 number, $2 tenant, $3 call key, $4 run, $5 epoch.
# Writes nothing, and so commits nothing, while a run's epoch stays.
LOOK_UP_MANY = """
with asked as (
    select * from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[]) as a (n, tenant, call_key, run_id, epoch)
),
seen as (
    select a.n as nth, e.epoch as highest from asked a join run_epochs e on e.tenant = a.tenant and e.run_id = a.run_id
),
raised as (
    insert into run_epochs (tenant, run_id, epoch)
    select a.tenant, a.run_id, max(a.epoch) from asked a left join seen s on s.nth = a.n
    where s.nth is null or s.highest < a.epoch
    group by a.tenant, a.run_id order by a.tenant, a.run_id
    on conflict (tenant, run_id) do update set epoch = greatest(run_epochs.epoch, excluded.epoch), touched_at = now()
)
select a.n, s.highest, set_config('synchronous_commit', 'off', true), c.call_id, c.state, c.request_digest, c.fence, c.tool, c.effect,
       c.call_digest, c.lease_until > now() as held, c.degraded, c.failure, c.result, c.attempts, c.duration_s
from asked a
left join seen s on s.nth = a.n
left join calls c on c.tenant = a.tenant and c.call_key = a.call_key
order by a.n"""
LOOK_UP_ONE = _of_one(LOOK_UP_MANY)

# Calls that needed no reservation and have ended, each with its announcement: the columns of RESERVE_MANY without the lease, then those
# of SETTLE_MANY without what both have. The first to record a key wins; a run that a higher epoch acts for takes nothing from a lower one.
RECORD_MANY = """
with ended as (
    select * from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
                         $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                         $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::int[], $25::float8[],
                         $26::text[], $27::text[], $28::bytea[], $29::text[])
        as e (n, tenant, call_key, run_id, epoch, call_id, effect, tool, tool_digest, call_digest, request_digest, step, node, agent,
              agent_version, policy, rules, labels, arguments, state, result, failure, degraded, attempts, duration_s, event_id, subject,
              payload, trace)
),
seen as (
    select e.n as nth, r.epoch as highest, r.labels as read
    from ended e join run_epochs r on r.tenant = e.tenant and r.run_id = e.run_id
),
raised as (
    insert into run_epochs (tenant, run_id, epoch, labels)
    select e.tenant, e.run_id, max(e.epoch), array_remove(array_agg(distinct label), null)
    from ended e left join seen s on s.nth = e.n left join lateral unnest(string_to_array(e.labels, ',')) label on true
    where s.nth is null or s.highest < e.epoch or (s.highest = e.epoch and not s.read @> string_to_array(e.labels, ','))
    group by e.tenant, e.run_id order by e.tenant, e.run_id
    on conflict (tenant, run_id) do update set epoch = greatest(run_epochs.epoch, excluded.epoch), touched_at = now(),
        labels = array(select distinct label from unnest(run_epochs.labels || excluded.labels) label order by label)
),
recorded as (
    insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, run_id, step, node, agent,
                       agent_version, epoch, lease_until, policy, rules, arguments, result, failure, degraded, attempts, duration_s,
                       reserved_at, finished_at)
    select e.tenant, e.call_key, e.call_id, e.state, e.effect, e.tool, e.tool_digest, e.call_digest, e.request_digest, e.run_id, e.step,
           e.node, e.agent, e.agent_version, e.epoch, now(), e.policy, e.rules, e.arguments, e.result, e.failure::jsonb, e.degraded::jsonb,
           e.attempts, e.duration_s, now() - make_interval(secs => e.duration_s), now()
    from ended e left join seen s on s.nth = e.n
    where s.highest is null or s.highest <= e.epoch
    order by e.tenant, e.call_key
    on conflict (tenant, call_key) do nothing
    returning call_id
),
announced as (
    insert into outbox (event_id, subject, tenant, payload, trace)
    select event_id, subject, tenant, payload, trace from ended join recorded using (call_id) order by n
)
select n, set_config('synchronous_commit', 'off', true) from ended join recorded using (call_id)"""
RECORD_ONE = _of_one(RECORD_MANY)

# As above for one call with a grant, or one that needs a look at what others do: $1 tenant, $2 call key, $3 run, $4 epoch, $5 grant or
# null, $6 whether the call may begin here, $7 call id, $8 effect, $9 tool, $10 tool digest, $11 call digest, $12 request digest, $13 step,
# $14 node, $15 agent, $16 agent version, $17 lease, $18 policy, $19 rules, $20 labels, $21 arguments, $22 when the grant expires or null,
# $23 who approved. `spent` takes the grant only together with the reservation, in time by this clock, and again only for the same call.
RESERVE = """
with entry as (select *, lease_until > now() as held from calls where tenant = $1 and call_key = $2),
seen as (select epoch, labels from run_epochs where tenant = $1 and run_id = $3),
raised as (
    insert into run_epochs (tenant, run_id, epoch, labels)
    select $1, $3, $4, coalesce(string_to_array(nullif($20, ''), ','), '{}')
    where not exists (select from seen where epoch > $4 or (epoch = $4 and labels @> coalesce(string_to_array(nullif($20, ''), ','), '{}')))
    on conflict (tenant, run_id) do update set epoch = greatest(run_epochs.epoch, excluded.epoch), touched_at = now(),
        labels = array(select distinct label from unnest(run_epochs.labels || excluded.labels) label order by label)
),
fresh as (select where $6 and not exists (select from entry) and not exists (select from seen where epoch > $4)),
spent as (
    insert into spent_grants (tenant, grant_id, call_key)
    select $1, $5, $2 from fresh where $5::text is not null and ($22::timestamptz is null or $22 > now())
    on conflict (tenant, grant_id) do update set call_key = excluded.call_key
        where spent_grants.call_key = excluded.call_key and spent_grants.revoked_at is null
    returning grant_id
),
reserved as (
    insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, grant_id, run_id, step,
                       node, agent, agent_version, epoch, lease_until, policy, rules, arguments, approved_by)
    select $1, $2, $7, 'reserved', $8, $9, $10, $11, $12, coalesce($5, ''), $3, $13, $14, $15, $16, $4, now() + $17::interval, $18, $19, $21,
           $23
    from fresh where $5::text is null or exists (select from spent)
    on conflict (tenant, call_key) do nothing
    returning fence as reserved_fence
)
select (select reserved_fence from reserved),
       (select epoch from seen) as highest,
       (select call_key from spent_grants where tenant = $1 and grant_id = $5) as spent_by,
       (select revoked_at is not null from spent_grants where tenant = $1 and grant_id = $5) as revoked,
       $22::timestamptz <= now() as expired,
       entry.*
from (select) as one left join entry on true"""

# $1 tenant, $2 grant
REVOKE = """
insert into spent_grants (tenant, grant_id, call_key, revoked_at) values ($1, $2, '', now())
on conflict (tenant, grant_id) do update set revoked_at = spent_grants.revoked_at where spent_grants.revoked_at is not null
returning true"""

# $1 tenant, $2 call key, $3 run
FIND = """
select (select epoch from run_epochs where tenant = $1 and run_id = $3) as highest, entry.*
from (select) as one left join (select *, lease_until > now() as held from calls where tenant = $1 and call_key = $2) as entry on true"""

# $1 tenant, $2 call key, $3 fence seen, $4 tool digest, $5 call digest, $6 grant or null, $7 step, $8 epoch, $9 lease, $10 effect,
# $11 policy, $12 rules, $13 arguments, $14 when the grant expires or null
TAKE_OVER = """
with spent as (
    insert into spent_grants (tenant, grant_id, call_key)
    select $1, $6, $2 where $6::text is not null
      and ($14::timestamptz is null or $14 > now()
           or exists (select from spent_grants where tenant = $1 and grant_id = $6 and call_key = $2 and revoked_at is null))
    on conflict (tenant, grant_id) do update set call_key = excluded.call_key
        where spent_grants.call_key = excluded.call_key and spent_grants.revoked_at is null
    returning grant_id
)
update calls set fence = fence + 1, state = 'reserved', lease_until = now() + $9::interval, tool_digest = $4, call_digest = $5, step = $7, epoch = $8,
                 effect = $10, grant_id = coalesce($6, grant_id), policy = $11, rules = $12, arguments = $13
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

# One row per call: $1 number, $2 tenant, $3 call key, $4 fence, $5 state, $6 result, $7 failure, $8 degraded, $9 attempts, $10 duration,
# $11 event id, $12 subject, $13 payload, $14 trace; $15 whether the commit may reach the disk a little later, as it may when repeating
# the calls does no harm. Outcome and announcement in one statement: one way to the server and one commit. The outbox is plimsoll_runtime's.
SETTLE_MANY = """
with ended as (
    select * from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[],
                         $10::float8[], $11::text[], $12::text[], $13::bytea[], $14::text[])
        as e (n, tenant, call_key, fence, state, result, failure, degraded, attempts, duration_s, event_id, subject, payload, trace)
),
settled as (
    update calls c set state = e.state, result = e.result, failure = e.failure::jsonb, degraded = e.degraded::jsonb, attempts = e.attempts,
                       duration_s = e.duration_s, finished_at = now(), doubt_at = case when e.state = 'unknown' then now() end
    from ended e
    where c.tenant = e.tenant and c.call_key = e.call_key and c.fence = e.fence and c.state in ('reserved', 'dispatched')
    returning e.n
),
announced as (
    insert into outbox (event_id, subject, tenant, payload, trace)
    select event_id, subject, tenant, payload, trace from ended join settled using (n) order by n
)
select n, case when $15 then set_config('synchronous_commit', 'off', true) end from settled"""
SETTLE_ONE = _of_one(SETTLE_MANY)

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
update calls set state = 'unknown', failure = $4, finished_at = now(), attempts = greatest(attempts, 1), doubt_at = now(),
                 duration_s = greatest(0, extract(epoch from lease_until - reserved_at))
where tenant = $1 and call_key = $2 and fence = $3 and state = 'dispatched' and lease_until <= now()
returning *"""

# $1 tenant, $2 run
LABELS = "select labels from run_epochs where tenant = $1 and run_id = $2"

# $1 limit, $2 again after. Each doubt goes to one replica: who takes it moves it into the future.
DUE = """
update calls set doubt_at = now() + $2::interval, doubt_tries = doubt_tries + 1
where (tenant, call_key) in (
    select tenant, call_key from calls where state = 'unknown' and doubt_at <= now() order by doubt_at limit $1 for update skip locked
) and state = 'unknown'
returning *"""

# $1 tenant, $2 call key, $3 fence
ESCALATE = """
update calls set escalated_at = now(), doubt_at = null
where tenant = $1 and call_key = $2 and fence = $3 and state = 'unknown' and escalated_at is null
returning *"""

# $1 tenant, $2 call key, $3 fence, $4 result, $5 by: it acted
SETTLE_ACTED = """
update calls set state = 'succeeded', result = $4, failure = null, doubt_at = null, resolved_by = $5, fence = fence + 1
where tenant = $1 and call_key = $2 and fence = $3 and state = 'unknown'
returning *"""

# $1 tenant, $2 call key, $3 fence, $4 by: it did nothing, and runs when it is asked for again
SETTLE_NOT_ACTED = """
update calls set state = 'reserved', failure = null, doubt_at = null, resolved_by = $4, fence = fence + 1, lease_until = now(),
                 finished_at = null
where tenant = $1 and call_key = $2 and fence = $3 and state = 'unknown'
returning *"""

# $1 tenant, $2 limit
OPEN_DOUBTS = "select * from calls where tenant = $1 and state = 'unknown' order by finished_at limit $2"

# $1 tenant, $2 call id
DOUBT = "select * from calls where tenant = $1 and call_id = $2 and state = 'unknown'"

# $1 tenant, $2 tool digest, $3 arguments digest, $4 result
CACHE_PUT = """
insert into cached_results (tenant, tool_digest, arguments_digest, result) values ($1, $2, $3, $4)
on conflict (tenant, tool_digest, arguments_digest) do update set result = excluded.result, recorded_at = now()"""

# $1 tenant, $2 tool digest, $3 arguments digest, $4 longest age
CACHE_GET = """
select result, extract(epoch from now() - recorded_at)::float8 as age_s from cached_results
where tenant = $1 and tool_digest = $2 and arguments_digest = $3 and recorded_at > now() - $4::interval"""
