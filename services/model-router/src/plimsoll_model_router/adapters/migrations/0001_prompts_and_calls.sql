-- Prompt versions never change; labels move over them.
create table prompt_versions (
    tenant      text not null,
    name        text not null,
    version     bigint not null,
    digest      text not null,
    description text not null,
    content     json not null,  -- json, not jsonb: it keeps the order of keys and the character U+0000
    created_at  timestamptz not null default now(),
    primary key (tenant, name, version),
    unique (tenant, name, digest)
);

create table prompt_labels (
    tenant   text not null,
    name     text not null,
    label    text not null,
    version  bigint not null,
    moved_at timestamptz not null default now(),
    primary key (tenant, name, label),
    foreign key (tenant, name, version) references prompt_versions (tenant, name, version)
);

-- Every finished call, with what it consumed. The answer is kept for a while, for repeats under the same request key.
create table calls (
    tenant              text not null,
    call_id             text not null,
    request_key         text not null,
    fingerprint         text not null,
    run_id              text not null,
    step                bigint not null,
    node                text not null,
    agent               text not null,
    agent_version       text not null,
    task                text not null,
    provider            text not null,
    model               text not null,
    rehearsal           boolean not null,
    prompt_name         text not null,
    prompt_digest       text not null,
    input_tokens        bigint not null,
    output_tokens       bigint not null,
    cached_input_tokens bigint not null,
    reasoning_tokens    bigint not null,
    cost_micros         bigint not null,
    attempts            int not null,
    failure_category    text,
    failure_reason      text,
    started_at          timestamptz not null,
    duration_s          double precision not null,
    answer              json,
    remembered_until    timestamptz,
    primary key (tenant, call_id)
);

create unique index calls_request_key on calls (tenant, request_key) where answer is not null;
create index calls_forgetting on calls (remembered_until) where answer is not null;
create index calls_by_run on calls (tenant, run_id, step);
