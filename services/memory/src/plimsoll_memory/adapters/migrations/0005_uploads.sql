-- Uploads that come call by call; which passages answers used, by run.

alter table uploads add column done boolean not null default false;  -- kept for a while, for whoever did not hear of it
create index uploads_by_time on uploads (tenant, updated_at);

-- Content that came and is not stored yet, because its part is not full.
create table upload_pieces (
    tenant     text not null,
    collection text not null,
    source     text not null,
    at         bigint not null,  -- where in the document it begins
    content    bytea storage external not null,  -- kept as it came: it is soon gone
    primary key (tenant, collection, source, at),
    foreign key (tenant, collection, source) references uploads (tenant, collection, source) on delete cascade
);
alter table upload_pieces enable row level security;
alter table upload_pieces force row level security;
create policy own_tenant on upload_pieces using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));

alter table searches
    add column run_id        text not null default '',
    add column used_passages text[] not null default '{}';
create index searches_of_run on searches (tenant, run_id) where run_id <> '';
