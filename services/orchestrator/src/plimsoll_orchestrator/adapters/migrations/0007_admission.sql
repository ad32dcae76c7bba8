-- A run that waits for its thread does not hold back those behind it at a key that has room; a key that is full does, and so does a thread,
-- for order's sake. Only the first of each thread is looked at: a long queue in one must not hide everybody else's.
create or replace function admit(p_tenant text, p_gates text[]) returns setof text language plpgsql as $$
declare
    candidate record;
    blocked   text[] := '{}';
    wanted    text[];
    full_ones text[];
begin
    perform pg_advisory_xact_lock(hashtextextended(p_tenant || ' ' || name, 0)) from unnest(p_gates) as g (name) order by name;
    for candidate in
        select g.run_id, min(g.place) as place from gates g
        where g.tenant = p_tenant and g.gate = any(p_gates) and not g.admitted
          and not exists (
            select 1 from gates mine join gates ahead on ahead.tenant = mine.tenant and ahead.gate = mine.gate
            where mine.run_id = g.run_id and mine.gate like 'thread %'
              and (ahead.admitted or (ahead.place, ahead.run_id) < (mine.place, mine.run_id)))
        group by g.run_id order by min(g.place), g.run_id limit 64
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
