-- The trace in which an event was committed, so that those who hear of it continue it.
alter table outbox add column trace text not null default '';
