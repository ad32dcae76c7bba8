-- An annotator may say that an item is no example at all; `expected` is then null in JSON.
alter table annotations add column discards boolean not null default false;
