-- The shop's tables. Safe to run again; every row belongs to a tenant.

create schema if not exists tarnbrook;

create table if not exists tarnbrook.tenants (
  tenant text primary key,
  seeded_at timestamptz not null default now()
);

create table if not exists tarnbrook.customers (
  tenant text not null,
  customer_id text not null check (customer_id ~ '^CUS-\d{4}$'),
  name text not null,
  email text not null,
  member_until date,
  joined_on date not null,
  primary key (tenant, customer_id)
);
create unique index if not exists customers_email on tarnbrook.customers (tenant, lower(email));

create table if not exists tarnbrook.orders (
  tenant text not null,
  order_id text not null check (order_id ~ '^ORD-\d{5}$'),
  customer_id text not null,
  status text not null check (status in ('placed', 'packed', 'shipped', 'delivered', 'cancelled', 'returned')),
  service text not null check (service in ('standard', 'express', 'alaska_hawaii', 'canada')),
  placed_on date not null,
  shipped_on date,
  delivered_on date,
  tracking text,
  last_scan_on date,
  last_scan_place text,
  shipping_cents integer not null check (shipping_cents >= 0),
  primary key (tenant, order_id),
  foreign key (tenant, customer_id) references tarnbrook.customers (tenant, customer_id)
);
create index if not exists orders_customer on tarnbrook.orders (tenant, customer_id, placed_on desc);

create table if not exists tarnbrook.order_lines (
  tenant text not null,
  order_id text not null,
  line smallint not null,
  sku text not null,
  name text not null,
  quantity smallint not null check (quantity > 0),
  unit_cents integer not null check (unit_cents > 0),
  sale text not null check (sale in ('regular', 'final_sale', 'hygiene', 'safety')),
  primary key (tenant, order_id, line),
  foreign key (tenant, order_id) references tarnbrook.orders (tenant, order_id)
);

create table if not exists tarnbrook.refunds (
  tenant text not null,
  refund_id text not null,
  call_key text not null,
  order_id text not null,
  amount_cents integer not null check (amount_cents > 0),
  reason text not null,
  issued_at timestamptz not null default now(),
  primary key (tenant, refund_id),
  unique (tenant, call_key),
  foreign key (tenant, order_id) references tarnbrook.orders (tenant, order_id)
);
create index if not exists refunds_order on tarnbrook.refunds (tenant, order_id);
