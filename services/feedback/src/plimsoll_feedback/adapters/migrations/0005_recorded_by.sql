-- Who asked for a signal, by the key that was shown: its source is a word of the caller's own. Empty for what the mesh found by itself.
alter table signals add column recorded_by text not null default '';
