-- Which runs exist. Written from journal entries only: the orchestrator is the truth about runs.
create table runs (
    tenant        text not null,
    run_id        text not null,
    agent         text not null,
    agent_version text not null,
    started_at    timestamptz not null,
    primary key (tenant, run_id)
);

-- One row for each thing that happened; never changed. Partitioned by the day of the start, which is part of the event
-- and therefore the same each time the event arrives: the primary key alone makes ingestion idempotent.
create table operations (
    tenant              text not null,
    started_at          timestamptz not null,
    operation_id        text not null,
    kind                text not null check (kind in ('run', 'transition', 'model_call', 'tool_call', 'retrieval', 'approval')),
    run_id              text not null, -- empty without a run
    step                bigint not null,
    agent               text not null,
    agent_version       text not null,
    node                text not null,
    name                text not null,
    duration_s          double precision not null,
    category            text, -- null when it succeeded, as all of the failure
    reason              text,
    message             text,
    retryable           boolean,
    retry_after_s       double precision,
    place               text,
    evidence            text not null,
    input_tokens        bigint not null,
    output_tokens       bigint not null,
    cached_input_tokens bigint not null,
    reasoning_tokens    bigint not null,
    cost_micros         bigint not null,
    facts               jsonb not null,
    recorded_at         timestamptz not null default now(),
    primary key (tenant, started_at, operation_id)
) partition by range (started_at);

-- Late events, and those of clocks that are far off, land here until their day gets a partition.
create table operations_default partition of operations default;

create index operations_by_run on operations (tenant, run_id, started_at, operation_id);
create index operations_by_agent on operations (tenant, agent, started_at, operation_id);
create index operations_failed on operations (tenant, started_at, operation_id) where category is not null;

create table signals (
    tenant          text not null,
    signal_id       text not null,
    run_id          text not null,
    operation_id    text, -- null when the whole run is meant
    kind            text not null,
    verdict         text check (verdict in ('good', 'bad')),
    score           double precision check (score between 0 and 1),
    category        text,
    demonstration   text, -- JSON as it was given; jsonb would refuse some of it
    outcome         boolean,
    comment         text not null,
    source          text not null,
    idempotency_key text,
    fingerprint     text,
    created_at      timestamptz not null,
    primary key (tenant, signal_id),
    constraint exactly_one_value check (
        num_nonnulls(verdict, score, category, demonstration, outcome) = (kind <> 'remark')::int
        and case kind
            when 'verdict' then verdict is not null
            when 'score' then score is not null
            when 'category' then category is not null
            when 'demonstration' then demonstration is not null
            when 'outcome' then outcome is not null
            else kind = 'remark'
        end
    )
);
create index signals_by_run on signals (tenant, run_id, created_at, signal_id);
create unique index signals_by_key on signals (tenant, idempotency_key) where idempotency_key is not null;

-- Every query names its tenant; these policies hold even where one forgot. Ingestion writes for all tenants and says so.
alter table runs enable row level security;
alter table runs force row level security;
alter table operations enable row level security;
alter table operations force row level security;
alter table signals enable row level security;
alter table signals force row level security;

create policy one_tenant on runs using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
create policy one_tenant on operations using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
create policy one_tenant on signals using (tenant = (select current_setting('plimsoll.tenant', true)));
