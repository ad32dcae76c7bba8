-- Requests that were made with an Idempotency-Key, for a day: `key` is a digest of it, `answer` is sealed under it. While `answer` is null the request is under way, and its row belongs to
-- `attempt` until `leased_until`; a process that dies lets go of it by that.
create table requests (
    tenant       text not null,
    key          text not null,
    fingerprint  bytea not null check (length(fingerprint) = 32),
    attempt      text not null,
    leased_until timestamptz not null,
    answer       bytea,
    made_at      timestamptz not null default now(),
    primary key (tenant, key)
);

create index requests_by_age on requests (made_at);
