-- Tables as they came in, and as they were after the approved fixes. Safe to run again; every row belongs to a tenant.

create schema if not exists plimsoll_tables;

create table if not exists plimsoll_tables.staged (
  tenant text not null,
  table_id text not null check (table_id ~ '^TBL-[0-9A-F]{12}$'),
  name text not null,
  csv text not null,
  staged_at timestamptz not null default now(),
  primary key (tenant, table_id)
);

create table if not exists plimsoll_tables.fixed (
  tenant text not null,
  fixed_id text not null check (fixed_id ~ '^FIX-[0-9A-F]{12}$'),
  call_key text not null,
  table_id text not null,
  columns jsonb not null,
  fixes jsonb not null,
  fixed_at timestamptz not null default now(),
  primary key (tenant, fixed_id),
  unique (tenant, call_key),
  foreign key (tenant, table_id) references plimsoll_tables.staged (tenant, table_id)
);

create table if not exists plimsoll_tables.fixed_rows (
  tenant text not null,
  fixed_id text not null,
  row_number integer not null,
  cells jsonb not null,
  primary key (tenant, fixed_id, row_number),
  foreign key (tenant, fixed_id) references plimsoll_tables.fixed (tenant, fixed_id)
);
