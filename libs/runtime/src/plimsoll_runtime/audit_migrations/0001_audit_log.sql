-- What was done by leave of somebody, or refused: a chain of rows per tenant, each with the hash of the one before it.
create table audit_log (
    tenant   text not null,
    seq      bigint not null,
    at       timestamptz not null,
    actor    text not null,
    action   text not null,
    subject  text not null,
    details  text not null, -- JSON text, as it was hashed
    previous text not null, -- hash of the row before; empty for the first
    hash     text not null,
    primary key (tenant, seq)
);

-- Where each chain ends. Its row is locked by who appends, so a chain has no fork, and rows cut off at the end are missed.
create table audit_heads (
    tenant text primary key,
    seq    bigint not null,
    hash   text not null
);

-- Each field with its length before it: no two rows read alike.
create function audit_hash(variadic fields text[]) returns text language sql immutable as $$
    select encode(sha256(convert_to(string_agg(octet_length(convert_to(field, 'UTF8')) || ':' || field, '' order by nth), 'UTF8')), 'hex')
    from unnest(fields) with ordinality as f (field, nth)
$$;

create function audit_append(of_tenant text, by_actor text, its_action text, its_subject text, its_details text) returns bigint
language plpgsql as $$
declare
    head  audit_heads;
    stamp timestamptz;
    sum   text;
begin
    perform set_config('plimsoll.audit_tenant', of_tenant, true);
    insert into audit_heads values (of_tenant, 0, '') on conflict (tenant) do nothing;
    select * into head from audit_heads where tenant = of_tenant for update;
    stamp := clock_timestamp();
    sum := audit_hash(head.hash, of_tenant, (head.seq + 1)::text, (extract(epoch from stamp) * 1000000)::bigint::text,
                      by_actor, its_action, its_subject, its_details);
    insert into audit_log values (of_tenant, head.seq + 1, stamp, by_actor, its_action, its_subject, its_details, head.hash, sum);
    update audit_heads set seq = head.seq + 1, hash = sum where tenant = of_tenant;
    return head.seq + 1;
end $$;

create function audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is only appended to' using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on audit_log for each statement execute function audit_refuse();

alter table audit_log enable row level security;
alter table audit_log force row level security;
alter table audit_heads enable row level security;
alter table audit_heads force row level security;
create policy one_tenant on audit_log using (tenant = (select current_setting('plimsoll.audit_tenant', true)));
create policy one_tenant on audit_heads using (tenant = (select current_setting('plimsoll.audit_tenant', true)));
