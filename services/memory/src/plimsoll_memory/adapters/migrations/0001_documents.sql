-- Documents, their passages, and what search needs of them.
-- Every table is forced under row-level security: a transaction sees the tenant that it named, and without a name nothing.
-- A migration that changes rows must name each tenant in turn.

create function current_tenant() returns text
    stable parallel safe
    return nullif(current_setting('plimsoll.tenant', true), '');  -- after a transaction the setting is '', not null

create table collections (
    tenant     text not null,
    name       text not null,
    number     bigint generated always as identity,  -- prefixes every word of its passages in the full-text index
    language   text not null,  -- a text search configuration
    embedder   text not null,
    documents  bigint not null default 0,
    chunks     bigint not null default 0,
    created_at timestamptz not null,
    primary key (tenant, name)
) with (fillfactor = 50);  -- the counters change with every document

create table documents (
    tenant      text not null,
    document_id text not null,
    collection  text not null,
    source      text collate "C" not null,
    title       text not null,
    media_type  text not null,
    digest      text not null,
    fingerprint text not null,
    version     bigint not null,
    chunks      bigint not null,
    size_bytes  bigint not null,
    metadata    jsonb not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    primary key (tenant, document_id),
    unique (tenant, collection, source),
    foreign key (tenant, collection) references collections (tenant, name)
);

create table chunks (
    tenant      text not null,
    chunk_id    text not null,
    collection  text not null,
    document_id text not null,
    version     bigint not null,
    position    bigint not null,
    context     text not null,  -- title and headings, indexed with the text
    headings    text[] not null,
    body        text not null,
    span_start  bigint not null,
    span_end    bigint not null,
    metadata    jsonb not null,
    lexemes     tsvector not null,  -- 'collection number:lexeme', so that no tenant's words share an entry of the index with another's
    weights     sparsevec storage main,  -- BM25; null when no word of the passage is indexed
    primary key (tenant, chunk_id),
    foreign key (tenant, document_id) references documents (tenant, document_id) on delete cascade
);
create index chunks_of_document on chunks (tenant, document_id, version);
create index chunks_of_collection on chunks (tenant, collection);
create index chunks_lexemes on chunks using gin (lexemes);

-- Apart from the passages: scanned whole, so rows are narrow; and a collection may hold vectors of two embedders while one replaces the other.
create table embeddings (
    tenant     text not null,
    collection text not null,
    embedder   text not null,
    chunk_id   text not null,
    metadata   jsonb not null,  -- the passage's, so that a filter needs no join
    embedding  halfvec not null,
    primary key (tenant, collection, embedder, chunk_id),
    foreign key (tenant, chunk_id) references chunks (tenant, chunk_id) on delete cascade
);
create index embeddings_of_chunk on embeddings (tenant, chunk_id);

-- In how many passages a word occurs: rare words say more.
create table terms (
    tenant     text not null,
    collection text not null,
    lexeme     text not null,
    chunks     bigint not null,
    primary key (tenant, collection, lexeme),
    foreign key (tenant, collection) references collections (tenant, name)
) with (fillfactor = 80);

do $$
declare
    one text;
begin
    foreach one in array array['collections', 'documents', 'chunks', 'embeddings', 'terms'] loop
        execute format('alter table %I enable row level security', one);
        execute format('alter table %I force row level security', one);
        execute format('create policy own_tenant on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))', one);
    end loop;
end $$;

-- BM25 as an inner product: what a passage contributes is stored with it, what the query contributes (how rare a word is) comes with the query.

create function lexeme_place(lexeme text) returns integer
    immutable strict parallel safe
    return ('x' || substr(md5(lexeme), 1, 7))::bit(28)::integer + 1;

create function lexeme_weights(lexemes tsvector) returns sparsevec
    immutable strict parallel safe
begin atomic
    -- k1 = 1.5, b = 0.75. The length is held against 80 words instead of the average: passages are cut to size, and weights must not
    -- change when other passages come and go.
    with words as (
        select lexeme_place(lexeme) as place, cardinality(positions) as times
        from unnest(lexemes)
    ),
    weighted as (
        select place, sum(times) * 2.5 / (sum(times) + 1.5 * (0.25 + 0.75 * (select sum(times) from words) / 80.0)) as weight
        from words
        group by place
    )
    select ('{' || string_agg(place || ':' || round(weight, 4), ',') || '}/268435456')::sparsevec
    from weighted;
end;
