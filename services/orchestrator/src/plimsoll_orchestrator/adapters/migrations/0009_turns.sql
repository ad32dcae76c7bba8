-- since: when a run takes its place before a gate. One that is to begin later takes it then, and is in nobody's way until it does.
alter table gates add column since timestamptz not null default now();
update gates g set since = r.created_at from runs r where r.run_id = g.run_id;

-- Input that was given to the run under way of a thread: the same key again answers with that run.
create table steered (
    tenant          text not null,
    idempotency_key text not null,
    run_id          text not null,
    fingerprint     text not null,
    primary key (tenant, idempotency_key)
);
create index steered_by_run on steered (run_id);

-- As before, but in the order of place, since and id. The wall clock, not the time of the transaction: who came while it waited for a lock counts.
create or replace function admit(p_tenant text, p_gates text[]) returns setof text language plpgsql as $$
declare
    candidate record;
    blocked   text[] := '{}';
    wanted    text[];
    full_ones text[];
begin
    perform pg_advisory_xact_lock(hashtextextended(p_tenant || ' ' || name, 0)) from unnest(p_gates) as g (name) order by name;
    for candidate in
        select g.run_id from gates g
        where g.tenant = p_tenant and g.gate = any(p_gates) and not g.admitted and g.since <= clock_timestamp()
          and not exists (
            select 1 from gates mine join gates ahead on ahead.tenant = mine.tenant and ahead.gate = mine.gate
            where mine.run_id = g.run_id and mine.gate like 'thread %'
              and (ahead.admitted or ahead.since <= clock_timestamp()
                   and (ahead.place, ahead.since, ahead.run_id) < (mine.place, mine.since, mine.run_id)))
        group by g.run_id order by min(g.place), min(g.since), g.run_id limit 64
    loop
        select array_agg(gate order by gate) into wanted from gates where run_id = candidate.run_id;
        if wanted && blocked then
            blocked := blocked || array(select name from unnest(wanted) as w (name) where name like 'thread %');
            continue;
        end if;
        perform pg_advisory_xact_lock(hashtextextended(p_tenant || ' ' || name, 0)) from unnest(wanted) as g (name) order by name;
        select array_agg(mine.gate) into full_ones from gates mine where mine.run_id = candidate.run_id and mine.most <= (
            select count(*) from gates other where other.tenant = mine.tenant and other.gate = mine.gate and other.admitted);
        if full_ones is not null then
            blocked := blocked || full_ones || array(select name from unnest(wanted) as w (name) where name like 'thread %');
            continue;
        end if;
        update gates set admitted = true where run_id = candidate.run_id;
        update runs set gated = false, wake_at = now() where run_id = candidate.run_id and gated;
        return next candidate.run_id;
    end loop;
end
$$;
