-- lane: 10 minus the priority, so that smaller comes first in the index.
-- mail: how many letters were ever sent to the run; its holder compares it with what it knows.
-- gated: waits for its turn in a thread or for a concurrency key.
-- abandoned: the workers that the run ended, or errors of the engine, since it last got on.
-- pruned_seq: up to where the journal is gone by retention.
alter table runs
    add column lane           smallint not null default 5,
    add column parent_run_id  text not null default '',
    add column thread_id      text not null default '',
    add column mail           bigint not null default 0,
    add column gated          boolean not null default false,
    add column abandoned      text[] not null default '{}',
    add column pruned_seq     bigint not null default 0;

-- Fair claims walk the tenants' lanes.
create index runs_lanes on runs (tenant, lane, wake_at) where wake_at is not null;
create index runs_by_parent on runs (parent_run_id, run_id) where parent_run_id <> '';
create index runs_by_thread on runs (tenant, thread_id, run_id desc) where thread_id <> '';
create index runs_unfinished on runs (tenant, agent, run_id) where finished_at is null;

-- Letters that a run has not answered yet; deleted with the entries that answer them.
create table mail (
    run_id    text not null,
    number    bigint not null,
    tenant    text not null,
    letter_id text not null,
    letter    text not null,
    sent_at   timestamptz not null default now(),
    primary key (run_id, number)
);
create unique index mail_once on mail (run_id, letter_id);

-- The latest snapshot of a run: the fold up to `seq`. A copy of what the journal says, never more.
create table snapshots (
    run_id text primary key,
    tenant text not null,
    seq    bigint not null,
    body   text not null
);

-- Runs before and behind gates: a thread, or a concurrency key. At most `most` runs are admitted to a gate at once.
create table gates (
    tenant   text not null,
    gate     text not null,
    run_id   text not null,
    place    smallint not null,
    most     integer not null,
    admitted boolean not null default false,
    primary key (tenant, gate, run_id)
);
create index gates_by_run on gates (run_id);

create table threads (
    tenant      text not null,
    thread_id   text not null,
    kept        text not null default '{}',
    last_run_id text not null default '',
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (tenant, thread_id)
);

-- Admits whom the gates have room for, in their order; a run that has to wait holds back those behind it at the same gates.
create function admit(p_tenant text, p_gates text[]) returns setof text language plpgsql as $$
declare
    candidate record;
    blocked   text[] := '{}';
    wanted    text[];
begin
    perform pg_advisory_xact_lock(hashtextextended(p_tenant || ' ' || name, 0)) from unnest(p_gates) as g (name) order by name;
    for candidate in
        select g.run_id, min(g.place) as place from gates g
        where g.tenant = p_tenant and g.gate = any(p_gates) and not g.admitted
        group by g.run_id order by min(g.place), g.run_id limit 64
    loop
        select array_agg(gate order by gate) into wanted from gates where run_id = candidate.run_id;
        if wanted && blocked then
            blocked := blocked || wanted;
            continue;
        end if;
        perform pg_advisory_xact_lock(hashtextextended(p_tenant || ' ' || name, 0)) from unnest(wanted) as g (name) order by name;
        if exists (
            select 1 from gates mine where mine.run_id = candidate.run_id and mine.most <= (
                select count(*) from gates other where other.tenant = mine.tenant and other.gate = mine.gate and other.admitted)
        ) then
            blocked := blocked || wanted;
            continue;
        end if;
        update gates set admitted = true where run_id = candidate.run_id;
        update runs set gated = false, wake_at = now() where run_id = candidate.run_id and gated;
        return next candidate.run_id;
    end loop;
end
$$;
