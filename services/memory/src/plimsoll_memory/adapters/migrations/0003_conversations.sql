-- Conversation memory: threads with their turns and summary, and facts with where they come from and what took their place.

create table threads (
    tenant          text not null,
    thread_id       text not null,
    turns           bigint not null default 0,  -- number of the latest
    summary         text not null default '',
    summary_through bigint not null default 0,
    summary_by      text not null default '',
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    primary key (tenant, thread_id)
) with (fillfactor = 70);

create table turns (
    tenant     text not null,
    thread_id  text not null,
    number     bigint not null,
    origin     text not null,
    body       text not null,
    tokens     bigint not null,
    work       jsonb,
    lexemes    tsvector not null,
    created_at timestamptz not null,
    primary key (tenant, thread_id, number),
    foreign key (tenant, thread_id) references threads (tenant, thread_id) on delete cascade
);

create table facts (
    tenant        text not null,
    fact_id       text not null,
    subject       text collate "C" not null,
    attribute     text collate "C" not null,
    body          text not null,
    canonical     text not null,  -- digest of the text without case and punctuation
    origin        text not null,
    thread_id     text not null,
    turn          bigint not null,
    work          jsonb,
    metadata      jsonb not null,
    lexemes       tsvector not null,
    superseded_by text not null default '',
    times         bigint not null default 1,
    created_at    timestamptz not null,
    last_at       timestamptz not null,
    primary key (tenant, fact_id)
);
-- What holds is said once, and an attribute has one value.
create unique index facts_said_once on facts (tenant, subject, attribute, canonical) where superseded_by = '';
create unique index facts_one_value on facts (tenant, subject, attribute) where superseded_by = '' and attribute <> '';
create index facts_of_subject on facts (tenant, subject, fact_id);
create index facts_of_thread on facts (tenant, thread_id, fact_id);
create index facts_superseded on facts (tenant, superseded_by) where superseded_by <> '';

-- What a key stored, so that a repeat answers as before.
create table remembered (
    tenant     text not null,
    place      text not null,  -- 'thread/…' or 'collection/…'
    key        text not null,
    digest     text not null,
    outcome    jsonb not null,
    created_at timestamptz not null,
    primary key (tenant, place, key)
);

do $$
declare
    one text;
begin
    foreach one in array array['threads', 'turns', 'facts', 'remembered'] loop
        execute format('alter table %I enable row level security', one);
        execute format('alter table %I force row level security', one);
        execute format('create policy own_tenant on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))', one);
    end loop;
end $$;

-- Words joined by OR, for ranking what matches any of them.
create function any_word(language text, words text) returns tsquery
    stable strict parallel safe
    return (select string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')
            from unnest(tsvector_to_array(to_tsvector(language::regconfig, words))) as lexeme)::tsquery;
