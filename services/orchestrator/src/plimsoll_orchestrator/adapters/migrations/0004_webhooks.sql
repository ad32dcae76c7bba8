-- The secret before is kept for a day, so that receivers can change it while messages arrive. failures counts tries since one came through.
create table webhooks (
    tenant           text not null,
    name             text not null,
    url              text not null,
    agent            text not null,
    statuses         text[] not null,
    disabled         boolean not null,
    failures         bigint not null default 0,
    secret           text not null,
    old_secret       text not null default '',
    old_secret_until timestamptz not null default '-infinity',
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    primary key (tenant, name)
);

-- Messages. next_at is the one clock of a message: when to send it, the end of the hold while a process sends it, null when it is settled.
create table webhook_deliveries (
    delivery_id  text primary key,
    position     bigint generated always as identity,
    tenant       text not null,
    webhook      text not null,
    run_id       text not null,
    status       text not null default 'pending',
    claim        bigint not null default 0,
    attempts     integer not null default 0,
    last_result  text not null default '',
    created_at   timestamptz not null default now(),
    next_at      timestamptz default now(),
    delivered_at timestamptz
);
create index webhook_deliveries_due on webhook_deliveries (tenant, webhook, next_at) where next_at is not null;
create index webhook_deliveries_by_tenant on webhook_deliveries (tenant, position desc);
create index webhook_deliveries_by_run on webhook_deliveries (run_id);
create index webhook_deliveries_settled on webhook_deliveries (created_at) where next_at is null;

-- Messages are made in the transaction that ends the run: none is lost, none is made for an end that was not committed.
create function tell_of_end() returns trigger language plpgsql set search_path from current as $$
begin
    insert into webhook_deliveries (delivery_id, tenant, webhook, run_id)
    select 'dlv_' || replace(gen_random_uuid()::text, '-', ''), w.tenant, w.name, new.run_id
    from webhooks w
    where w.tenant = new.tenant and not w.disabled and w.agent in ('', new.agent) and (w.statuses = '{}' or new.status = any (w.statuses));
    return null;
end
$$;
create trigger tell_of_end after update of finished_at on runs for each row
    when (old.finished_at is null and new.finished_at is not null and new.parent_run_id = '')
    execute function tell_of_end();
