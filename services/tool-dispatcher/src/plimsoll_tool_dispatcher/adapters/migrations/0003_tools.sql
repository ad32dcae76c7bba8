-- Every definition that was ever offered, immutable, and what was decided about the names.
create table tool_versions (
    tenant        text not null, -- empty for tools that all share
    name          text not null,
    digest        text not null,
    version       text not null,
    origin        text not null,
    definition    text not null, -- JSON: the declaration and where it stands
    registered_at timestamptz not null default now(),
    primary key (tenant, name, digest)
);

create table tool_standings (
    tenant     text not null,
    name       text not null,
    disabled   boolean not null default false,
    pinned     text not null default '', -- the digest that the name means, whatever is offered
    accepted   text not null default '', -- the digest of an untrusted source's tool that may run
    changed_at timestamptz not null default now(),
    changed_by text not null default '',
    primary key (tenant, name)
);

-- Tools that were registered by a call of the API rather than offered by a source.
create table registered_tools (
    tenant        text not null,
    name          text not null,
    digest        text not null,
    registered_by text not null,
    registered_at timestamptz not null default now(),
    primary key (tenant, name),
    foreign key (tenant, name, digest) references tool_versions (tenant, name, digest)
);

-- Rises with every decision and registration, so that replicas notice.
create table registry_revision (
    one      boolean primary key default true check (one),
    revision bigint not null default 0
);
insert into registry_revision default values;
