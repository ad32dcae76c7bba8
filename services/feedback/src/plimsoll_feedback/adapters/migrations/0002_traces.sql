-- What lists of runs show and are filtered by. A row is made by whichever event comes first; `journal` says that the orchestrator told of it.
alter table runs
    add column journal       boolean not null default true,
    add column status        text not null default 'running' check (status in ('running', 'succeeded', 'failed', 'cancelled')),
    add column finished_at   timestamptz,
    add column duration_s    double precision,
    add column category      text,
    add column reason        text,
    add column steps         bigint not null default 0,
    add column input_tokens  bigint not null default 0,
    add column output_tokens bigint not null default 0,
    add column cost_micros   bigint not null default 0,
    add column parent_run_id text not null default '',
    add column thread_id     text not null default '',
    add column categories    text[] not null default '{}', -- every label that anything in the run bears or bore
    add column tags          text[] not null default '{}',
    add column search        tsvector not null default ''; -- nodes, names, reasons, messages, comments, tags: no bodies
alter table runs alter column journal drop default;

create index runs_by_time on runs (tenant, started_at desc, run_id desc) where journal;
create index runs_by_agent on runs (tenant, agent, started_at desc, run_id desc) where journal;
create index runs_by_cost on runs (tenant, cost_micros) where journal;
create index runs_by_duration on runs (tenant, duration_s) where journal;
create index runs_by_parent on runs (tenant, parent_run_id) where parent_run_id <> '';
create index runs_by_thread on runs (tenant, thread_id) where thread_id <> '';
create index runs_by_category on runs using gin (categories);
create index runs_by_tag on runs using gin (tags);
create index runs_by_word on runs using gin (search);

-- Columns that are asked for by value. They come from facts, so nothing can differ from what was reported.
alter table operations
    add column recorded_in   xid8 not null default pg_current_xact_id(),
    add column call_id       text generated always as (facts ->> 'call_id') stored,
    add column prompt        text generated always as (facts ->> 'prompt') stored,
    add column prompt_digest text generated always as (facts ->> 'prompt_digest') stored,
    add column confidence    double precision generated always as (
        case when jsonb_typeof(facts -> 'confidence') = 'number' and abs((facts ->> 'confidence')::numeric) <= 1
        then (facts ->> 'confidence')::double precision end
    ) stored;
alter table signals add column recorded_in xid8 not null default pg_current_xact_id();

-- In the order of the transactions that stored them: who follows reads only what no unfinished transaction can still precede.
create index operations_by_transaction on operations (recorded_in, tenant, operation_id);
create index signals_by_transaction on signals (recorded_in, tenant, signal_id);

-- How far each follower of operations and of signals has come. The holder alone may move it, until the time it was given is over.
create table cursors (
    name        text primary key,
    recorded_in xid8 not null default '0',
    tenant      text not null default '',
    id          text not null default '',
    holder      text not null default '',
    held_until  timestamptz not null default '-infinity'
);

-- What rules found afterwards, beside the first label that the operation bears itself.
create table labels (
    tenant       text not null,
    run_id       text not null,
    operation_id text not null,
    category     text not null,
    rule         text not null,
    evidence     text not null,
    started_at   timestamptz not null, -- of the operation, so that windows count alike
    agent        text not null,
    created_at   timestamptz not null default now(),
    primary key (tenant, run_id, operation_id, rule)
);
create index labels_by_time on labels (tenant, started_at);
create index signals_of_categories on signals (tenant, created_at) where kind = 'category';

alter table signals
    add column context text, -- JSON: what a decision was about
    drop constraint exactly_one_value,
    add column approved boolean,
    add constraint exactly_one_value check (
        num_nonnulls(verdict, score, category, demonstration, outcome, approved) = (kind <> 'remark')::int
        and case kind
            when 'verdict' then verdict is not null
            when 'score' then score is not null
            when 'category' then category is not null
            when 'demonstration' then demonstration is not null
            when 'outcome' then outcome is not null
            when 'approval' then approved is not null
            else kind = 'remark'
        end
    );

drop policy one_tenant on signals;
create policy one_tenant on signals using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
alter table labels enable row level security;
alter table labels force row level security;
create policy one_tenant on labels using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);

-- What was asked of people: shown with what they decided, in whichever order the two arrive.
create table proposals (
    tenant      text not null,
    run_id      text not null,
    approval_id text not null,
    context     text not null,
    asked_at    timestamptz not null,
    primary key (tenant, run_id, approval_id)
);
alter table proposals enable row level security;
alter table proposals force row level security;
create policy one_tenant on proposals using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);

alter table operations drop constraint operations_kind_check;
alter table operations add constraint operations_kind_check
    check (kind in ('run', 'transition', 'model_call', 'tool_call', 'retrieval', 'approval', 'quality'));
