-- The registry holds model entries and routes beside prompts, remembers every move of a label, and shows each tenant its own rows.
-- The schema's tables are under row-level security: a transaction sees the tenant that it named, and without a name nothing.
-- Housekeeping across tenants says so. A migration that changes rows must name each tenant in turn, or say so too.

create function current_tenant() returns text
    stable parallel safe
    return nullif(current_setting('plimsoll.tenant', true), '');  -- after a transaction the setting is '', not null

create function keeping_house() returns boolean
    stable parallel safe
    return coalesce(current_setting('plimsoll.keeping', true), '') = 'yes';

alter table prompt_labels drop constraint prompt_labels_tenant_name_version_fkey, drop constraint prompt_labels_pkey;
alter table prompt_versions drop constraint prompt_versions_pkey, drop constraint prompt_versions_tenant_name_digest_key;
alter table prompt_versions rename to versions;
alter table prompt_labels rename to labels;

alter table versions
    add column kind text not null default 'prompt' check (kind in ('prompt', 'model', 'route')),
    add column created_by text not null default '',
    add primary key (tenant, kind, name, version),
    add unique (tenant, kind, name, digest);
alter table versions alter column kind drop default, alter column created_by drop default;

alter table labels
    add column kind text not null default 'prompt',
    add primary key (tenant, kind, name, label),
    add foreign key (tenant, kind, name, version) references versions (tenant, kind, name, version);
alter table labels alter column kind drop default;
create index labels_by_label on labels (tenant, kind, label, name);

-- Every move of a label, never changed. Positions are committed in their order: who moves a label holds one lock for all.
create table label_moves (
    tenant        text not null,
    position      bigint generated always as identity,
    kind          text not null,
    name          text not null,
    label         text not null,
    from_version  bigint not null,  -- 0 when the label did not exist
    to_version    bigint not null,
    grounds       text not null check (grounds in ('open', 'first', 'report', 'rollback', 'override')),
    report_digest text not null,
    reason        text not null,
    moved_by      text not null,
    moved_at      timestamptz not null,
    primary key (tenant, position)
);
create index label_moves_of_label on label_moves (tenant, kind, name, label, position);
create unique index label_moves_by_position on label_moves (position);

insert into label_moves (tenant, kind, name, label, from_version, to_version, grounds, report_digest, reason, moved_by, moved_at)
select tenant, kind, name, label, 0, version, 'first', '', '', '', moved_at from labels order by moved_at;

alter table versions enable row level security;
alter table versions force row level security;
alter table labels enable row level security;
alter table labels force row level security;
alter table label_moves enable row level security;
alter table label_moves force row level security;
create policy one_tenant on versions using (tenant = (select current_tenant()));
create policy one_tenant on labels using (tenant = (select current_tenant()));
create policy one_tenant on label_moves using (tenant = (select current_tenant()) or (select keeping_house()));

-- What moved since: for every replica, about every tenant.
create function moves_since(seen bigint) returns table (tenant text, "position" bigint, kind text, name text, label text)
    language plpgsql as $$
#variable_conflict use_column
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    return query select m.tenant, m.position, m.kind, m.name, m.label from label_moves m where m.position > seen order by m.position limit 1000;
end $$;

create function last_move() returns bigint language plpgsql as $$
begin
    perform set_config('plimsoll.keeping', 'yes', true);
    return (select coalesce(max(position), 0) from label_moves);
end $$;
