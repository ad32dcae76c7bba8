-- What the runs of a thread had read that left something to it.
alter table threads add column labels text[] not null default '{}';
