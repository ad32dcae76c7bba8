-- What was asked and answered is kept apart from the ledger, for replays, for as long as answers are remembered; and questions that are asked
-- to judge a prompt or a model are told apart from production: they have budgets of their own.

-- Bodies by reference: feedback copies those that it selects. Inserted once, deleted when their time is over.
create table call_bodies (
    tenant     text not null,
    call_id    text not null,
    question   bytea not null,
    answer     bytea,  -- null when there is none, or calls.answer has it
    keep_until timestamptz not null,
    primary key (tenant, call_id)
);
create index call_bodies_by_age on call_bodies (keep_until);
alter table call_bodies enable row level security;
alter table call_bodies force row level security;
create policy one_tenant on call_bodies using (tenant = (select current_tenant()) or (select keeping_house()));

alter table calls
    add column purpose text not null default 'production',
    add column prompt_version bigint not null default 0,
    add column model_digest text not null default '',
    add column confidence double precision;

drop index calls_of_node;
create index calls_of_node on calls (tenant, run_id, node, started_at)
    where run_id <> '' and failure_category is null and purpose = 'production';

alter table budgets drop constraint budgets_scope_check;
alter table budgets add constraint budgets_scope_check check (scope in ('tenant', 'agent', 'key', 'evaluation'));

-- Whose budgets a call counts in. Evaluations count in their own, or in the tenant's where there is none (`apart` is false).
create function counts_in(scope text, subject text, agent text, api_key text, purpose text, apart boolean) returns boolean
    immutable parallel safe
    return case when purpose = 'evaluation' then scope = (case when apart then 'evaluation' else 'tenant' end)
        else scope = 'tenant' or (scope = 'agent' and subject = agent) or (scope = 'key' and subject = api_key) end;

-- Lock the budgets of these calls, always in one order, and begin those periods anew whose time has come.
create or replace function hold_budgets(who text, agents text[], api_keys text[]) returns void language plpgsql as $$
begin
    perform 1 from budgets b
    where b.tenant = who and (b.scope in ('tenant', 'evaluation')
        or (b.scope = 'agent' and b.subject = any (agents)) or (b.scope = 'key' and b.subject = any (api_keys)))
    order by b.number for update;
    if found then
        update budgets b set spent_tokens = 0, spent_micros = 0, period_start = date_trunc(b.period, now(), 'UTC')
        where b.tenant = who and b.period <> 'total' and b.period_start < date_trunc(b.period, now(), 'UTC')
            and (b.scope in ('tenant', 'evaluation')
                or (b.scope = 'agent' and b.subject = any (agents)) or (b.scope = 'key' and b.subject = any (api_keys)));
    end if;
end $$;

-- Open calls, of any number of tenants at once; one JSON object comes back for each, naming its call.
create or replace function open_calls(asked json, lease_s double precision) returns setof json language plpgsql as $$
declare
    who text; one record; known record; held record; rooms record; tight record; mine bigint[]; apart boolean;
begin
    -- Not waited for on the disk: what a crash of the database loses here is of calls that it ended.
    perform set_config('synchronous_commit', 'off', true);
    for who in select distinct a.tenant from json_to_recordset(asked) as a (tenant text) order by 1 loop
        perform set_config('plimsoll.tenant', who, true);
        perform hold_budgets(who, array_agg(a.agent), array_agg(a.key))
        from json_to_recordset(asked) as a (tenant text, agent text, key text) where a.tenant = who;
        apart := exists (select 1 from budgets b where b.tenant = who and b.scope = 'evaluation');
        for one in
            select * from json_to_recordset(asked) as a
                (tenant text, call_id text, request_key text, fingerprint text, agent text, key text, purpose text, tokens bigint, micros bigint, extends boolean)
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
            into rooms from budgets b where b.tenant = who and counts_in(b.scope, b.subject, one.agent, one.key, one.purpose, apart);
            mine := rooms.numbers;
            if one.extends then
                select o.* into held from open_calls o where o.tenant = who and o.call_id = one.call_id;
                mine := coalesce(held.budgets, '{}');
            end if;
            if coalesce(rooms.tokens < one.tokens, false) or coalesce(rooms.micros < one.micros, false) then
                select b.scope, b.subject, b.period, date_trunc(nullif(b.period, 'total'), now(), 'UTC') + ('1 ' || nullif(b.period, 'total'))::interval as renews
                into tight from budgets b
                where b.tenant = who and counts_in(b.scope, b.subject, one.agent, one.key, one.purpose, apart)
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
create function settle_calls(told json, payloads bytea[], traces text[], questions bytea[], answers bytea[]) returns setof json language plpgsql as $$
declare
    who text; one calls%rowtype; at record; held record; earlier record; kept boolean; apart boolean;
begin
    for who in select distinct t.tenant from json_to_recordset(told) as t (tenant text) order by 1 loop
        perform set_config('plimsoll.tenant', who, true);
        perform hold_budgets(who, array_agg(t.agent), array_agg(t.api_key))
        from json_to_recordset(told) as t (tenant text, agent text, api_key text) where t.tenant = who;
        apart := exists (select 1 from budgets b where b.tenant = who and b.scope = 'evaluation');
        for at in
            select e.value as row, e.ordinality as number from json_array_elements(told) with ordinality as e
            where e.value ->> 'tenant' = who order by e.value ->> 'request_key', e.value ->> 'call_id'
        loop
            one := json_populate_record(null::calls, at.row);
            one.purpose := coalesce(one.purpose, 'production');
            one.prompt_version := coalesce(one.prompt_version, 0);
            one.model_digest := coalesce(one.model_digest, '');
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
            where b.tenant = who and (counts_in(b.scope, b.subject, one.agent, one.api_key, one.purpose, apart) or b.number = any (held.budgets));
            if questions[at.number] is not null then
                insert into call_bodies (tenant, call_id, question, answer, keep_until)
                values (who, one.call_id, questions[at.number], case when one.answer is null then answers[at.number] end,
                    (at.row ->> 'keep_until')::timestamptz);
            end if;
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

-- As replicas of the version before call it.
create or replace function settle_calls(told json, payloads bytea[], traces text[]) returns setof json
    begin atomic
        select settle_calls(told, payloads, traces, null, null);
    end;

drop function counts_in(text, text, text, text);

create or replace function forget_answers(before timestamptz) returns bigint language plpgsql as $$
declare forgotten bigint; bodies bigint;
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    update calls set answer = null where (tenant, call_id) in (
        select tenant, call_id from calls where answer is not null and remembered_until < before limit 1000 for update skip locked);
    get diagnostics forgotten = row_count;
    delete from call_bodies where (tenant, call_id) in (
        select tenant, call_id from call_bodies where keep_until < before limit 1000 for update skip locked);
    get diagnostics bodies = row_count;
    return greatest(forgotten, bodies);
end $$;
