-- replaces: the key that this one came after by rotation.
-- last_used_at: some seconds late; written with the counts.
alter table api_keys add column replaces text not null default '';
alter table api_keys add column last_used_at timestamptz;

-- How much is asked, by key (or subject of tokens) and day.
create table key_usage (
    tenant   text not null,
    day      date not null,
    key_id   text not null,
    name     text not null,
    requests bigint not null,
    refused  bigint not null,
    primary key (tenant, day, key_id)
);
