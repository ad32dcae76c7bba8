-- A replica may hold a part of a budget for many calls to come: a lease, which is a row of open_calls under an id of its own. Its calls settle
-- against it. What somebody held when it died counts as spent, because it may have been: no crash makes room under a cap.

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
                (tenant text, call_id text, request_key text, fingerprint text, agent text, key text, purpose text, tokens bigint, micros bigint, extends boolean, closes boolean)
            where a.tenant = who order by a.request_key, a.call_id
        loop
            if one.closes then  -- a lease ends: `tokens` and `micros` of it are left, and what is missing was lost with its call
                delete from open_calls o where (o.tenant, o.call_id) in (
                    select t.tenant, t.call_id from open_calls t where t.tenant = who and t.call_id = one.call_id for update skip locked)
                returning o.tokens, o.micros, o.budgets into held;
                update budgets b set
                    reserved_tokens = b.reserved_tokens - held.tokens, reserved_micros = b.reserved_micros - held.micros,
                    spent_tokens = b.spent_tokens + greatest(held.tokens - one.tokens, 0),
                    spent_micros = b.spent_micros + greatest(held.micros - one.micros, 0)
                where b.tenant = who and b.number = any (held.budgets);
                return next json_build_object('call_id', one.call_id, 'state', 'closed');
                continue;
            end if;
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
                    update budgets b set
                        reserved_tokens = b.reserved_tokens - held.tokens, reserved_micros = b.reserved_micros - held.micros,
                        spent_tokens = b.spent_tokens + held.tokens, spent_micros = b.spent_micros + held.micros
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
                'call_id', one.call_id, 'state', 'opened', 'caps_tokens', rooms.tokens is not null, 'caps_money', rooms.micros is not null,
                'room_tokens', rooms.tokens - one.tokens, 'room_micros', rooms.micros - one.micros);
        end loop;
    end loop;
end $$;

-- Close calls: keep them, settle what they reserved, and leave their events in the outbox; one JSON object comes back for each.
create or replace function settle_calls(told json, payloads bytea[], traces text[], questions bytea[], answers bytea[]) returns setof json language plpgsql as $$
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
            if not found and at.row ->> 'lease' <> '' then  -- what it consumed goes from what the lease holds to what is spent
                update open_calls o set
                    tokens = o.tokens - least(o.tokens, one.input_tokens + one.output_tokens), micros = o.micros - least(o.micros, one.cost_micros)
                from (select t.tenant, t.call_id, t.tokens, t.micros from open_calls t
                    where t.tenant = who and t.call_id = at.row ->> 'lease' for update skip locked) as before
                where o.tenant = before.tenant and o.call_id = before.call_id
                returning before.tokens - o.tokens as tokens, before.micros - o.micros as micros, o.budgets into held;
            end if;
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

create or replace function release_calls() returns bigint language plpgsql as $$
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
    ), counted as (
        update budgets b set
            reserved_tokens = b.reserved_tokens - s.tokens, reserved_micros = b.reserved_micros - s.micros,
            spent_tokens = b.spent_tokens + s.tokens, spent_micros = b.spent_micros + s.micros
        from shares s where b.tenant = s.tenant and b.number = s.number
    )
    select count(*) into released from gone;
    return released;
end $$;
