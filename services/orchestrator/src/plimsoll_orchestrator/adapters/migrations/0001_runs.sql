-- Registered graphs; a version never changes.
create table agents (
    tenant      text not null,
    name        text not null,
    version     bigint not null,
    digest      text not null,
    description text not null,
    source      text not null,
    created_at  timestamptz not null default now(),
    primary key (tenant, name, version),
    unique (tenant, name, digest)
);

-- One row per run: what the journal says in short, and who may write to it.
-- wake_at is the one clock of a run: ready when accepted, end of the lease while held, expiry while it waits for people, null for ever after.
create table runs (
    run_id              text primary key,
    tenant              text not null,
    agent               text not null,
    agent_digest        text not null,
    status              text not null,
    epoch               bigint not null default 0,
    seq                 bigint not null,
    node                text not null default '',
    wake_at             timestamptz,
    worker              text,
    steps               bigint not null default 0,
    input_tokens        bigint not null default 0,
    output_tokens       bigint not null default 0,
    cached_input_tokens bigint not null default 0,
    reasoning_tokens    bigint not null default 0,
    cost_micros         bigint not null default 0,
    rehearsal           boolean not null default false,
    idempotency_key     text,
    fingerprint         text,
    created_at          timestamptz not null default now(),
    started_at          timestamptz,
    finished_at         timestamptz
) with (fillfactor = 70);
create index runs_wake on runs (wake_at) where wake_at is not null;
create unique index runs_idempotency on runs (tenant, idempotency_key) where idempotency_key is not null;
create index runs_by_tenant on runs (tenant, run_id desc);

-- The only truth about a run: append-only, gap-free.
create table journal (
    run_id text not null,
    seq    bigint not null,
    tenant text not null,
    epoch  bigint not null,
    at     timestamptz not null default now(),
    entry  text not null,
    primary key (run_id, seq)
);

create table approvals (
    approval_id text primary key,
    tenant      text not null,
    run_id      text not null,
    agent       text not null,
    node        text not null,
    status      text not null,
    summary     text not null,
    details     text not null,
    proposal    text,
    asked_at    timestamptz not null default now(),
    expires_at  timestamptz not null,
    decided_at  timestamptz,
    decided_by  text not null default '',
    comment     text not null default ''
);
create index approvals_by_tenant on approvals (tenant, status, approval_id);
create index approvals_by_run on approvals (run_id);

-- Which stretches of journals are to be published; one row per commit, however many runs it moved.
create table journal_outbox (
    position   bigint generated always as identity primary key,
    run_ids    text[] not null,
    first_seqs bigint[] not null,
    last_seqs  bigint[] not null
);
