-- Datasets, and how far each has looked at what happened.
create table datasets (
    tenant     text not null,
    name       text not null,
    spec       jsonb not null,
    prompt     text not null,
    version    bigint not null default 0, -- counts up with every change of the examples
    scanned_to timestamptz not null,
    created_at timestamptz not null,
    primary key (tenant, name)
);

-- Calls that a rule selected, redacted before they came here. Also those that were not taken, so that nobody looks at them twice.
create table dataset_items (
    tenant         text not null,
    item_id        text not null,
    dataset        text not null,
    operation_id   text not null,
    part           text not null check (part in ('training', 'held_out')),
    status         text not null check (status in ('pending', 'agreed', 'disputed', 'discarded', 'duplicate', 'lost')),
    body           text, -- JSON; null when it was not taken, or was deleted
    lineage        jsonb not null,
    content_digest text not null,
    shingles       bigint[] not null,
    claimed_by     text,
    claimed_until  timestamptz,
    created_at     timestamptz not null,
    primary key (tenant, item_id),
    foreign key (tenant, dataset) references datasets (tenant, name)
);
create unique index dataset_items_by_operation on dataset_items (tenant, dataset, operation_id);
create unique index dataset_items_by_content on dataset_items (tenant, dataset, content_digest) where status not in ('duplicate', 'lost');
create index dataset_items_alike on dataset_items using gin (shingles) where status not in ('duplicate', 'lost');
create index dataset_items_waiting on dataset_items (tenant, dataset, created_at, item_id) where status in ('pending', 'disputed');

create table annotations (
    tenant     text not null,
    item_id    text not null,
    annotator  text not null,
    expected   text not null, -- JSON
    signal_id  text, -- when it came as a signal
    created_at timestamptz not null,
    primary key (tenant, item_id, annotator),
    foreign key (tenant, item_id) references dataset_items (tenant, item_id)
);

-- A question with its right answer. Later versions of the dataset may lack it; a deleted one is kept without what it said.
create table examples (
    tenant        text not null,
    example_id    text not null,
    dataset       text not null,
    item_id       text not null,
    part          text not null check (part in ('training', 'held_out')),
    body          text, -- JSON
    expected      text, -- JSON
    label         text not null,
    since_version bigint not null,
    until_version bigint, -- the first version without it
    lineage       jsonb not null,
    created_at    timestamptz not null,
    primary key (tenant, example_id),
    foreign key (tenant, dataset) references datasets (tenant, name)
);
create unique index examples_by_item on examples (tenant, item_id);
create index examples_by_version on examples (tenant, dataset, part, since_version, example_id);

-- What learns reads the first view, what evaluates the second. The policy below holds even where a query reads the table itself:
-- a transaction sees the part that it named, and nothing when it named none.
create view training_examples with (security_invoker = true, security_barrier = true) as
    select * from examples where part = 'training' and body is not null;
create view held_out_examples with (security_invoker = true, security_barrier = true) as
    select * from examples where part = 'held_out' and body is not null;

create table evaluations (
    tenant          text not null,
    evaluation_id   text not null,
    dataset         text not null,
    dataset_version bigint not null,
    spec            jsonb not null,
    state           text not null check (state in ('waiting', 'running', 'done', 'cancelled', 'failed')),
    wanted          bigint not null default 0,
    report_digest   text,
    verdict         text,
    problem         text not null default '',
    idempotency_key text,
    epoch           bigint not null default 0, -- a higher one always wins
    held_until      timestamptz not null default '-infinity',
    tries           bigint not null default 0,
    created_at      timestamptz not null,
    finished_at     timestamptz,
    primary key (tenant, evaluation_id),
    foreign key (tenant, dataset) references datasets (tenant, name)
);
create unique index evaluations_by_key on evaluations (tenant, idempotency_key) where idempotency_key is not null;
create index evaluations_open on evaluations (held_until) where state in ('waiting', 'running');
create index evaluations_by_time on evaluations (tenant, created_at desc);

create table evaluation_results (
    tenant        text not null,
    evaluation_id text not null,
    example_id    text not null,
    side          text not null check (side in ('candidate', 'baseline')),
    value         text, -- JSON; null once its example is deleted
    scores        jsonb not null,
    note          text not null,
    primary key (tenant, evaluation_id, example_id, side),
    foreign key (tenant, evaluation_id) references evaluations (tenant, evaluation_id)
);

-- Reports never change.
create table evaluation_reports (
    tenant        text not null,
    digest        text not null,
    evaluation_id text not null,
    report        text not null, -- the JSON form of the contract's message
    created_at    timestamptz not null,
    primary key (tenant, digest)
);
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'evaluation reports never change' using errcode = 'restrict_violation';
end $$;
create trigger evaluation_reports_stay before update or delete on evaluation_reports for each row execute function refuse_change();

create table improvement_plans (
    tenant     text not null,
    prompt     text not null,
    plan       jsonb not null,
    due_at     timestamptz, -- null when only asked for by command
    updated_at timestamptz not null,
    primary key (tenant, prompt)
);
create index improvement_plans_due on improvement_plans (due_at) where due_at is not null;

create table improvements (
    tenant           text not null,
    improvement_id   text not null,
    prompt           text not null,
    state            text not null,
    plan             jsonb not null,
    baseline_digest  text not null default '',
    candidate_digest text not null default '',
    evaluation_id    text not null default '',
    report_digest    text not null default '',
    reason           text not null default '',
    dataset_version  bigint not null default 0,
    idempotency_key  text,
    epoch            bigint not null default 0,
    held_until       timestamptz not null default '-infinity',
    created_at       timestamptz not null,
    changed_at       timestamptz not null,
    primary key (tenant, improvement_id)
);
create unique index improvements_by_key on improvements (tenant, idempotency_key) where idempotency_key is not null;
create unique index improvements_one_at_a_time on improvements (tenant, prompt) where state in ('drafting', 'evaluating', 'promoting');
create index improvements_open on improvements (held_until) where state in ('drafting', 'evaluating', 'promoting');
create index improvements_by_time on improvements (tenant, prompt, created_at desc);

-- Selection looks at what came since the last time.
create index operations_arrived on operations (tenant, recorded_at) where kind in ('model_call', 'run');
create index signals_arrived on signals (tenant, created_at);

do $$
declare name text;
begin
    foreach name in array array['datasets', 'dataset_items', 'annotations', 'examples', 'evaluations', 'evaluation_results',
                                'evaluation_reports', 'improvement_plans', 'improvements'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy one_tenant on %I using (tenant = (select current_setting(''plimsoll.tenant'', true))'
                       ' or (select current_setting(''plimsoll.ingesting'', true)) = ''yes'')', name);
    end loop;
end $$;
create policy one_part on examples as restrictive for all using (
    (select current_setting('plimsoll.part', true)) in (part, 'both')
) with check (true);
