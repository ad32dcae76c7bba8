-- Calls are looked up by their run, and deleted by their age; so are cached results, and what is known about runs.
-- The run leads, not the tenant: with the tenant in front, a plan made for an empty table takes this index for look-ups by call key as well.
create index calls_of_run on calls (run_id, tenant, call_id);
create index calls_by_age on calls (reserved_at);
create index cached_results_by_age on cached_results (recorded_at);

alter table run_epochs add column touched_at timestamptz not null default now();
create index run_epochs_by_age on run_epochs (touched_at);
