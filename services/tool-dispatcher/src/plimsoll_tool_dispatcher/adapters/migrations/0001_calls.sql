-- Every call that was begun, and how it ended.
create table calls (
    tenant         text not null,
    call_key       text not null,
    call_id        text not null,
    state          text not null check (state in ('reserved', 'dispatched', 'succeeded', 'failed', 'unknown')),
    effect         text not null,
    tool           text not null,
    tool_digest    text not null,
    call_digest    text not null, -- of the exact call that runs
    request_digest text not null, -- of what was asked, whatever the tool's definition
    grant_id       text not null default '',
    run_id         text not null,
    step           bigint not null,
    node           text not null,
    agent          text not null,
    agent_version  text not null,
    epoch          bigint not null,
    fence          bigint not null default 1, -- rises with each owner; a write of an earlier one finds no row
    lease_until    timestamptz not null,
    reserved_at    timestamptz not null default now(),
    finished_at    timestamptz,
    attempts       integer not null default 0,
    duration_s     double precision not null default 0,
    result         text, -- JSON text, so that every digit stays
    failure        jsonb,
    primary key (tenant, call_key),
    check ((state = 'succeeded') = (result is not null)),
    check ((state in ('failed', 'unknown')) = (failure is not null))
);

-- What nobody may repeat and somebody has to settle.
create index calls_in_doubt on calls (lease_until) where state = 'dispatched' and effect = 'non_idempotent';

-- The highest epoch that acted for a run: whoever comes with a lower one is refused.
create table run_epochs (
    tenant text not null,
    run_id text not null,
    epoch  bigint not null,
    primary key (tenant, run_id)
);

-- A grant is used once, by the call that it was given for.
create table spent_grants (
    tenant   text not null,
    grant_id text not null,
    call_key text not null,
    spent_at timestamptz not null default now(),
    primary key (tenant, grant_id)
);
