-- What decided about a call, what settles one whose outcome nobody knows, and what a run has read.
alter table calls
    add column policy       text not null default '', -- digest of the rules that let it pass
    add column rules        text not null default '', -- their names, separated by commas
    add column approved_by  text not null default '', -- people, separated by line feeds
    add column arguments    text,                     -- JSON text, kept where somebody may have to find out what it did
    add column degraded     jsonb,
    add column doubt_tries  integer not null default 0,
    add column doubt_at     timestamptz, -- when an unknown outcome is looked into next; null when nothing more is tried
    add column escalated_at timestamptz,
    add column resolved_by  text not null default '';

create index calls_doubtful on calls (doubt_at) where state = 'unknown' and doubt_at is not null;
create index calls_unresolved on calls (tenant, finished_at) where state = 'unknown';

-- What the tools that a run called do with data; policy may ask.
alter table run_epochs add column labels text[] not null default '{}';

-- A grant that was taken back is spent by nobody.
alter table spent_grants add column revoked_at timestamptz;

-- The last result of tools that fall back to it.
create table cached_results (
    tenant           text not null,
    tool_digest      text not null,
    arguments_digest text not null,
    result           text not null,
    recorded_at      timestamptz not null default now(),
    primary key (tenant, tool_digest, arguments_digest)
);
