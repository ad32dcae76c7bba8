-- The workers that are there. They work for every tenant, so the table has none.
create table workers (
    name    text primary key,
    slots   integer not null,
    held    integer not null,
    version text not null,
    seen_at timestamptz not null default now()
);
