-- Tags and categories as lexemes: of the operators that such lists can be searched by, row-level security lets only that of full text use
-- its index (where its function counts as leakproof), because only it is trusted to tell nothing of the rows that it compares.
alter table runs
    add column tag_marks      tsvector not null generated always as (array_to_tsvector(tags)) stored,
    add column category_marks tsvector not null generated always as (array_to_tsvector(categories)) stored;
drop index runs_by_tag;
drop index runs_by_category;
create index runs_by_tag on runs using gin (tag_marks);
create index runs_by_category on runs using gin (category_marks);
