-- Embedders learned from a collection, one embedder taking another's place, approximate indexes, labels.

alter table collections
    add column target        text not null default '',  -- the embedder it should have, or the family; '' for the one it has
    add column next_embedder text not null default '',  -- being filled in the background; '' for none
    add column generation    bigint not null default 0,
    add column learned_from  bigint not null default 0,
    add column indexed       text not null default '',  -- the embedder whose vectors have an approximate index
    add column reranker      text not null default '';

alter table documents add column labels text[] not null default '{untrusted}';

-- Words that a passage says twice or more, once more for each time that counts: what is learned from a passage, and how it is embedded.
alter table chunks add column often text[] not null default '{}';

-- Where each word points in a learned space. Goes with the word: what was forgotten leaves no trace in what was learned.
create table projections (
    tenant     text not null,
    collection text not null,
    lexeme     text not null,
    space      text not null,  -- the embedder
    projection halfvec(128) not null,
    primary key (tenant, collection, lexeme, space),
    foreign key (tenant, collection, lexeme) references terms (tenant, collection, lexeme) on delete cascade
);
alter table projections enable row level security;
alter table projections force row level security;
create policy own_tenant on projections using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()));

-- Not under row-level security: upkeep works for all tenants. Holds names only.
create table chores (
    tenant     text not null,
    collection text not null,
    due_at     timestamptz not null,
    held_until timestamptz,  -- somebody works on it; null for nobody
    primary key (tenant, collection)
);
create index chores_due on chores (coalesce(held_until, due_at));

-- Collections that were there before learn from now on, too.
alter table collections no force row level security;
update collections set target = 'latent-128-v1' where embedder = 'hashing-384-v1';
insert into chores (tenant, collection, due_at) select tenant, name, now() from collections;
alter table collections force row level security;
