-- As before, but those who supersede others (place 0) first, then by age: a step of priority counts as much as 30 seconds of waiting, so that
-- nobody waits for ever. By the wall clock, not the time of the transaction: who came while it waited for a lock counts.
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
                   and (ahead.place > 0, ahead.since + ahead.place * interval '30 seconds', ahead.run_id)
                     < (mine.place > 0, mine.since + mine.place * interval '30 seconds', mine.run_id)))
        group by g.run_id order by min(g.place) > 0, min(g.since + g.place * interval '30 seconds'), g.run_id limit 64
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
