-- All who approved, when policy wants more than one.
alter table approvals add column approved_by text[] not null default '{}';
