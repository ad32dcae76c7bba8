-- Quality: labelled query sets, searches as they went, windows of them, and what drifts.

create table query_sets (
    tenant     text not null,
    name       text not null,
    collection text not null,
    content    jsonb not null,
    digest     text not null,
    queries    bigint not null,
    judgements bigint not null,
    updated_at timestamptz not null,
    primary key (tenant, name)
);

-- One row a search, without its query and without text; kept for a week.
create table searches (
    tenant          text not null,
    search_id       text not null,
    collection      text not null,
    started_at      timestamptz not null,
    duration_s      float8 not null,
    requested       bigint not null,
    returned        bigint not null,
    degraded        boolean not null,
    failed          boolean not null,
    best_similarity float8 not null,
    best_text_score float8 not null,
    passages        text[] not null,
    used            bigint,  -- of the passages; null until somebody says
    primary key (tenant, search_id)
);
create index searches_by_time on searches (tenant, collection, started_at);

create table quality_windows (
    tenant     text not null,
    collection text not null,
    start_at   timestamptz not null,
    content    jsonb not null,
    drifting   boolean not null,
    primary key (tenant, collection, start_at)
);

create table drifts (
    tenant     text not null,
    collection text not null,
    signal     text not null,
    content    jsonb not null,
    since      timestamptz not null,
    primary key (tenant, collection, signal)
);

do $$
declare
    one text;
begin
    foreach one in array array['query_sets', 'searches', 'quality_windows', 'drifts'] loop
        execute format('alter table %I enable row level security', one);
        execute format('alter table %I force row level security', one);
        execute format('create policy own_tenant on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))', one);
    end loop;
end $$;

-- Windows that are open. Not under row-level security: who closes them works for all tenants. Holds names only.
create table watched (
    tenant     text not null,
    collection text not null,
    start_at   timestamptz not null,
    primary key (tenant, collection, start_at)
);
create index watched_by_time on watched (start_at);

-- Uploads that are not finished: how much of the content is stored for good.
create table uploads (
    tenant     text not null,
    collection text not null,
    source     text not null,
    upload_key text not null,
    stored     bigint not null,  -- bytes
    parts      bigint not null,
    chunks     bigint not null,
    changed    bigint not null,
    head       bytea not null,  -- what every part begins with: the first line of CSV
    updated_at timestamptz not null,
    primary key (tenant, collection, source)
);
alter table uploads enable row level security;
alter table uploads force row level security;
create policy own_tenant on uploads using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));
