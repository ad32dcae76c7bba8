-- suspects: with how many the run shares its trial, itself included; 1 also when the engine broke on it, which nobody else is to blame for.
alter table runs add column suspects smallint not null default 0;
create index runs_suspects on runs (wake_at) where wake_at is not null and abandoned <> '{}';
