-- Events that are committed with the truth and relayed to NATS afterwards.
create table outbox (
    position   bigint generated always as identity primary key,
    event_id   text not null,
    subject    text not null,
    tenant     text not null,
    payload    bytea not null,
    created_at timestamptz not null default now()
);
