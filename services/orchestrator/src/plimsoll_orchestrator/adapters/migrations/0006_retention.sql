-- Stretches of journals that are told of no more and are still to be erased, bit by bit.
create table retired_journals (
    run_id   text primary key,
    tenant   text not null,
    next_seq bigint not null,
    last_seq bigint not null
);

create index runs_whole on runs (finished_at) where finished_at is not null and pruned_seq = 0;
create index runs_finished on runs (finished_at) where finished_at is not null;
