-- Budgets are reserved before a call and settled after it; request keys are claimed; answers are kept for exact repeats by leave.

alter table calls
    add column api_key text not null default '',
    add column priced boolean not null default true,
    add column cached boolean not null default false,
    add column cache_key text not null default '',
    add column failure json,
    add column tried json not null default '[]',
    add column choice json not null default '{}';

drop index calls_request_key;
create unique index calls_request_key on calls (tenant, request_key) where answer is not null and request_key <> '';
create index calls_cached on calls (tenant, cache_key, started_at) where answer is not null and cache_key <> '';
create index calls_of_node on calls (tenant, run_id, node, started_at) where run_id <> '' and failure_category is null;

create table budgets (
    tenant          text not null,
    number          bigint generated always as identity,
    scope           text not null check (scope in ('tenant', 'agent', 'key')),
    subject         text not null,
    period          text not null check (period in ('total', 'day', 'month')),
    max_tokens      bigint not null,  -- 0: no cap
    max_micros      bigint not null,
    period_start    timestamptz not null,
    spent_tokens    bigint not null default 0,
    spent_micros    bigint not null default 0,
    reserved_tokens bigint not null default 0,
    reserved_micros bigint not null default 0,
    primary key (tenant, scope, subject, period)
) with (fillfactor = 50);  -- the counters change with every call

-- Calls in flight that hold a request key or a reservation. A replica that dies stops renewing its leases.
create table open_calls (
    tenant      text not null,
    call_id     text not null,
    request_key text not null,
    fingerprint text not null,
    tokens      bigint not null,
    micros      bigint not null,
    budgets     bigint[] not null,
    lease_until timestamptz not null,
    primary key (tenant, call_id)
);
create unique index open_calls_request_key on open_calls (tenant, request_key) where request_key <> '';
create index open_calls_by_lease on open_calls (lease_until);

alter table calls enable row level security;
alter table calls force row level security;
alter table budgets enable row level security;
alter table budgets force row level security;
alter table open_calls enable row level security;
alter table open_calls force row level security;
create policy one_tenant on calls using (tenant = (select current_tenant()) or (select keeping_house()));
create policy one_tenant on budgets using (tenant = (select current_tenant()) or (select keeping_house()));
create policy one_tenant on open_calls using (tenant = (select current_tenant()) or (select keeping_house()));

-- Whose budgets a call counts in.
create function counts_in(scope text, subject text, agent text, api_key text) returns boolean
    immutable parallel safe
    return scope = 'tenant' or (scope = 'agent' and subject = agent) or (scope = 'key' and subject = api_key);

-- Lock the budgets of these calls, always in one order, and begin those periods anew whose time has come.
create function hold_budgets(who text, agents text[], api_keys text[]) returns void language plpgsql as $$
begin
    perform 1 from budgets b
    where b.tenant = who
        and (b.scope = 'tenant' or (b.scope = 'agent' and b.subject = any (agents)) or (b.scope = 'key' and b.subject = any (api_keys)))
    order by b.number for update;
    if found then
        update budgets b set spent_tokens = 0, spent_micros = 0, period_start = date_trunc(b.period, now(), 'UTC')
        where b.tenant = who and b.period <> 'total' and b.period_start < date_trunc(b.period, now(), 'UTC')
            and (b.scope = 'tenant' or (b.scope = 'agent' and b.subject = any (agents)) or (b.scope = 'key' and b.subject = any (api_keys)));
    end if;
end $$;

-- Open calls, of any number of tenants at once; one JSON object comes back for each, naming its call.
create function open_calls(asked json, lease_s double precision) returns setof json language plpgsql as $$
declare
    who text; one record; known record; held record; rooms record; tight record; mine bigint[];
begin
    -- Not waited for on the disk: what a crash of the database loses here is of calls that it ended.
    perform set_config('synchronous_commit', 'off', true);
    for who in select distinct a.tenant from json_to_recordset(asked) as a (tenant text) order by 1 loop
        perform set_config('plimsoll.tenant', who, true);
        perform hold_budgets(who, array_agg(a.agent), array_agg(a.key))
        from json_to_recordset(asked) as a (tenant text, agent text, key text) where a.tenant = who;
        for one in
            select * from json_to_recordset(asked) as a
                (tenant text, call_id text, request_key text, fingerprint text, agent text, key text, tokens bigint, micros bigint, extends boolean)
            where a.tenant = who order by a.request_key, a.call_id
        loop
            if one.request_key <> '' and not one.extends then
                select c.fingerprint, c.answer into known from calls c
                where c.tenant = who and c.request_key = one.request_key and c.answer is not null;
                if found then
                    return next json_build_object('call_id', one.call_id, 'state', 'recorded', 'fingerprint', known.fingerprint, 'answer', known.answer);
                    continue;
                end if;
                select o.* into held from open_calls o where o.tenant = who and o.request_key = one.request_key;
                if found and held.call_id <> one.call_id then
                    if held.fingerprint <> one.fingerprint or held.lease_until > now() then
                        return next json_build_object('call_id', one.call_id, 'state', 'busy', 'fingerprint', held.fingerprint);
                        continue;
                    end if;
                    delete from open_calls o where (o.tenant, o.call_id) in (
                        select t.tenant, t.call_id from open_calls t where t.tenant = who and t.call_id = held.call_id for update skip locked);
                    if not found then
                        return next json_build_object('call_id', one.call_id, 'state', 'busy', 'fingerprint', held.fingerprint);
                        continue;
                    end if;
                    update budgets b set reserved_tokens = b.reserved_tokens - held.tokens, reserved_micros = b.reserved_micros - held.micros
                    where b.tenant = who and b.number = any (held.budgets);
                end if;
            end if;
            select min(b.max_tokens - b.spent_tokens - b.reserved_tokens) filter (where b.max_tokens > 0) as tokens,
                min(b.max_micros - b.spent_micros - b.reserved_micros) filter (where b.max_micros > 0) as micros,
                coalesce(array_agg(b.number), '{}') as numbers
            into rooms from budgets b where b.tenant = who and counts_in(b.scope, b.subject, one.agent, one.key);
            mine := rooms.numbers;
            if one.extends then
                select o.* into held from open_calls o where o.tenant = who and o.call_id = one.call_id;
                mine := coalesce(held.budgets, '{}');
            end if;
            if coalesce(rooms.tokens < one.tokens, false) or coalesce(rooms.micros < one.micros, false) then
                select b.scope, b.subject, b.period, date_trunc(nullif(b.period, 'total'), now(), 'UTC') + ('1 ' || nullif(b.period, 'total'))::interval as renews
                into tight from budgets b
                where b.tenant = who and counts_in(b.scope, b.subject, one.agent, one.key)
                    and ((b.max_tokens > 0 and b.max_tokens - b.spent_tokens - b.reserved_tokens < one.tokens)
                        or (b.max_micros > 0 and b.max_micros - b.spent_micros - b.reserved_micros < one.micros))
                order by renews desc nulls first limit 1;
                return next json_build_object(
                    'call_id', one.call_id, 'state', 'over', 'scope', tight.scope, 'subject', tight.subject, 'period', tight.period,
                    'renews', extract(epoch from tight.renews), 'tokens', greatest(rooms.tokens, 0), 'micros', greatest(rooms.micros, 0));
                continue;
            end if;
            if cardinality(mine) > 0 then
                update budgets b set reserved_tokens = b.reserved_tokens + one.tokens, reserved_micros = b.reserved_micros + one.micros
                where b.tenant = who and b.number = any (mine);
            end if;
            if one.extends then
                update open_calls o set tokens = o.tokens + one.tokens, micros = o.micros + one.micros where o.tenant = who and o.call_id = one.call_id;
            elsif one.request_key <> '' or cardinality(mine) > 0 then
                insert into open_calls (tenant, call_id, request_key, fingerprint, tokens, micros, budgets, lease_until)
                values (who, one.call_id, one.request_key, one.fingerprint, one.tokens, one.micros, mine, now() + make_interval(secs => lease_s))
                on conflict do nothing;
                if not found then  -- the same key, opened by a transaction that was not visible above
                    update budgets b set reserved_tokens = b.reserved_tokens - one.tokens, reserved_micros = b.reserved_micros - one.micros
                    where b.tenant = who and b.number = any (mine);
                    return next json_build_object('call_id', one.call_id, 'state', 'busy', 'fingerprint', one.fingerprint);
                    continue;
                end if;
            end if;
            return next json_build_object(
                'call_id', one.call_id, 'state', 'opened', 'caps_tokens', rooms.tokens is not null, 'caps_money', rooms.micros is not null);
        end loop;
    end loop;
end $$;

-- Close calls: keep them, settle what they reserved, and leave their events in the outbox; one JSON object comes back for each.
create function settle_calls(told json, payloads bytea[], traces text[]) returns setof json language plpgsql as $$
declare
    who text; one calls%rowtype; at record; held record; earlier record; kept boolean;
begin
    for who in select distinct t.tenant from json_to_recordset(told) as t (tenant text) order by 1 loop
        perform set_config('plimsoll.tenant', who, true);
        perform hold_budgets(who, array_agg(t.agent), array_agg(t.api_key))
        from json_to_recordset(told) as t (tenant text, agent text, api_key text) where t.tenant = who;
        for at in
            select e.value as row, e.ordinality as number from json_array_elements(told) with ordinality as e
            where e.value ->> 'tenant' = who order by e.value ->> 'request_key', e.value ->> 'call_id'
        loop
            one := json_populate_record(null::calls, at.row);
            if exists (select 1 from calls c where c.tenant = who and c.call_id = one.call_id) then
                return next json_build_object('call_id', one.call_id, 'state', 'known');
                continue;
            end if;
            earlier := null;
            insert into calls select (one).* on conflict (tenant, request_key) where answer is not null and request_key <> '' do nothing;
            kept := found;
            if not kept then  -- its lease had ended, and another call under the key was faster; it was paid for all the same
                select c.fingerprint, c.answer into earlier from calls c
                where c.tenant = who and c.request_key = one.request_key and c.answer is not null;
                one.answer := null;
                one.remembered_until := null;
                insert into calls select (one).*;
            end if;
            delete from open_calls o where (o.tenant, o.call_id) in (
                select t.tenant, t.call_id from open_calls t where t.tenant = who and t.call_id = one.call_id for update skip locked)
            returning o.tokens, o.micros, o.budgets into held;
            update budgets b set
                spent_tokens = b.spent_tokens + one.input_tokens + one.output_tokens,
                spent_micros = b.spent_micros + one.cost_micros,
                reserved_tokens = b.reserved_tokens - case when b.number = any (held.budgets) then held.tokens else 0 end,
                reserved_micros = b.reserved_micros - case when b.number = any (held.budgets) then held.micros else 0 end
            where b.tenant = who and (counts_in(b.scope, b.subject, one.agent, one.api_key) or b.number = any (held.budgets));
            insert into outbox (event_id, subject, tenant, payload, trace)
            values (at.row ->> 'event_id', at.row ->> 'event_subject', who, payloads[at.number], traces[at.number]);
            if kept then
                return next json_build_object('call_id', one.call_id, 'state', 'kept');
            else
                return next json_build_object('call_id', one.call_id, 'state', 'late', 'fingerprint', earlier.fingerprint, 'answer', earlier.answer);
            end if;
        end loop;
    end loop;
end $$;

-- Leases: renewed for all calls of a replica in one go; what nobody renewed is let go.
create function renew_calls(mine text[], lease_s double precision) returns bigint language plpgsql as $$
declare renewed bigint;
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    update open_calls o set lease_until = now() + make_interval(secs => lease_s) where o.call_id = any (mine);
    get diagnostics renewed = row_count;
    return renewed;
end $$;

create function release_calls() returns bigint language plpgsql as $$
declare released bigint;
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    with gone as (
        delete from open_calls o where (o.tenant, o.call_id) in (
            select t.tenant, t.call_id from open_calls t where t.lease_until < now() limit 1000 for update skip locked)
        returning o.tenant, o.tokens, o.micros, o.budgets
    ), shares as (
        select g.tenant, n.number, sum(g.tokens) as tokens, sum(g.micros) as micros
        from gone g cross join lateral unnest(g.budgets) as n (number) group by 1, 2
    ), freed as (
        update budgets b set reserved_tokens = b.reserved_tokens - s.tokens, reserved_micros = b.reserved_micros - s.micros
        from shares s where b.tenant = s.tenant and b.number = s.number
    )
    select count(*) into released from gone;
    return released;
end $$;

create function forget_answers(before timestamptz) returns bigint language plpgsql as $$
declare forgotten bigint;
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    update calls set answer = null where (tenant, call_id) in (
        select tenant, call_id from calls where answer is not null and remembered_until < before limit 1000 for update skip locked);
    get diagnostics forgotten = row_count;
    return forgotten;
end $$;
