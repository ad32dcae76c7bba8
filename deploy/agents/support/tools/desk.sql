-- The service desk's tickets. Safe to run again; every row belongs to a tenant.

create schema if not exists tarnbrook_desk;

create table if not exists tarnbrook_desk.tickets (
  tenant text not null,
  ticket_id text not null,
  call_key text not null,
  subject text not null,
  message text not null,
  urgency text not null check (urgency in ('low', 'normal', 'high')),
  customer_id text,
  note text not null,
  answer_by timestamptz not null,
  opened_at timestamptz not null default now(),
  primary key (tenant, ticket_id),
  unique (tenant, call_key)
);
