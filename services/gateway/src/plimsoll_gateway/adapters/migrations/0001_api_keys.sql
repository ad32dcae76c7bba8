-- API keys. Only the digest of a key is kept; the id is the public half that the key itself carries.
create table api_keys (
    key_id     text primary key,
    tenant     text not null,
    name       text not null,
    digest     bytea not null check (length(digest) = 32),
    scopes     text[] not null check (cardinality(scopes) > 0),
    created_at timestamptz not null,
    created_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz
);

create index api_keys_by_tenant on api_keys (tenant, created_at, key_id);
