-- What was usual: gathered first, then fixed until somebody resets it. All versions of a subject are measured against the same.
create table baselines (
    tenant       text not null,
    subject_kind text not null check (subject_kind in ('agent', 'prompt', 'collection')),
    subject      text not null,
    measure      text not null,
    category     text not null,
    gathered     double precision[] not null default '{}', -- empty again once it is complete
    size         bigint not null default 0,
    mean         double precision not null default 0,
    cut          double precision, -- of measures that count what lies beyond a tenth of the baseline
    complete     boolean not null default false,
    updated_at   timestamptz not null default now(),
    primary key (tenant, subject_kind, subject, measure, category)
);

-- The bet against the baseline, one for each version.
create table monitors (
    tenant       text not null,
    monitor_id   text not null,
    subject_kind text not null,
    subject      text not null,
    measure      text not null,
    category     text not null,
    version      text not null,
    bound        double precision not null,
    alpha        double precision not null,
    minimum      bigint not null,
    started      double precision[] not null, -- logarithms
    size         bigint not null,
    recent       double precision not null,
    alert_id     text not null default '', -- while one is open
    updated_at   timestamptz not null default now(),
    primary key (tenant, subject_kind, subject, measure, category, version),
    unique (tenant, monitor_id)
);

create table alerts (
    tenant        text not null,
    alert_id      text not null,
    monitor_id    text not null,
    subject_kind  text not null,
    subject       text not null,
    measure       text not null,
    category      text not null,
    version       text not null,
    status        text not null check (status in ('open', 'acknowledged', 'resolved')),
    baseline_mean double precision not null,
    baseline_size bigint not null,
    live_mean     double precision not null,
    live_size     bigint not null,
    evidence      double precision not null,
    alpha         double precision not null,
    summary       text not null,
    raised_at     timestamptz not null,
    settled_at    timestamptz,
    settled_by    text not null default '',
    comment       text not null default '',
    primary key (tenant, alert_id)
);
create index alerts_by_time on alerts (tenant, raised_at desc, alert_id desc);

-- Alerts that the webhook has not taken yet.
create table alert_deliveries (
    tenant   text not null,
    alert_id text not null,
    tries    int not null default 0,
    next_at  timestamptz not null default now(),
    primary key (tenant, alert_id)
);
create index alert_deliveries_due on alert_deliveries (next_at);

alter table baselines enable row level security;
alter table baselines force row level security;
alter table monitors enable row level security;
alter table monitors force row level security;
alter table alerts enable row level security;
alter table alerts force row level security;
alter table alert_deliveries enable row level security;
alter table alert_deliveries force row level security;
create policy one_tenant on baselines using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
create policy one_tenant on monitors using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
create policy one_tenant on alerts using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
create policy one_tenant on alert_deliveries using (
    tenant = (select current_setting('plimsoll.tenant', true)) or (select current_setting('plimsoll.ingesting', true)) = 'yes'
);
