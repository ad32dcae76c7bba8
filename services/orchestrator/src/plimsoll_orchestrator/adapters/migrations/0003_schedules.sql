-- Schedules. look_at is the one clock of a schedule: its next time when it rests, the end of the hold while a process fires it.
create table schedules (
    tenant       text not null,
    name         text not null,
    schedule_id  text not null,
    revision     bigint not null default 1,
    agent        text not null,
    input        text not null,
    cron         text not null,
    time_zone    text not null,
    missed       text not null,
    paused       boolean not null,
    options      text not null,
    next_at      timestamptz,
    look_at      timestamptz,
    last_at      timestamptz,
    last_run_id  text not null default '',
    last_problem text not null default '',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (tenant, name)
);
create index schedules_due on schedules (look_at) where look_at is not null;
