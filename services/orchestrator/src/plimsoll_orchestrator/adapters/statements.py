"""The statements of the run store, each one a whole transaction."""

from plimsoll_orchestrator.domain.poison import ALONE, SUSPECT, TOGETHER

LEASE_S = 15

ACCEPT = """
with made as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, idempotency_key, fingerprint, lane)
    select run_id, tenant, agent, agent_digest, 'queued', 1, node, greatest(now(), not_before), nullif(idempotency_key, ''), fingerprint, lane
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::smallint[], $9::timestamptz[], $11::bigint[])
        as s (run_id, tenant, agent, agent_digest, node, idempotency_key, fingerprint, lane, not_before, agent_version)
    where s.agent_version = 0 or not exists (
        select 1 from agents a where a.tenant = s.tenant and a.name = s.agent and a.version > s.agent_version
    )
    on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
    returning run_id, tenant
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select e.run_id, 1, m.tenant, 0, e.entry from unnest($1::text[], $10::text[]) as e (run_id, entry) join made m using (run_id)
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs)
    select array_agg(run_id), array_agg(1::bigint), array_agg(1::bigint) from made having count(*) > 0
)
select run_id, now() as at from made
"""

# Takes the due runs: `picked` says which, and beside how many suspects. A worker that is named on one has left it without a word.
# The journals are read by the same statement, as they were when it began: where a run moved on before its row was locked, they
# end before `seq`, and the reader reads on.
_TAKE = f"""
taken as (
    update runs r
    set epoch = r.epoch + 1, worker = $1, status = 'running', wake_at = now() + interval '{LEASE_S} seconds',
        started_at = coalesce(r.started_at, now()),
        abandoned = case when r.worker is null then r.abandoned else r.abandoned || (r.worker || ' at ' || to_char(now(), 'HH24:MI:SS')) end,
        suspects = picked.together
    from picked where r.run_id = picked.run_id
    returning r.run_id, r.tenant, r.agent, r.agent_digest, r.epoch, r.seq, r.mail, r.abandoned, r.gated, picked.beside
)
select t.*, now() as at, s.seq as snapshot_seq, s.body as snapshot, j.ats, j.epochs, j.entries
from taken t
left join snapshots s on s.run_id = t.run_id and t.seq > 1
cross join lateral (
    select array_agg(at order by seq) as ats, array_agg(epoch order by seq) as epochs, array_agg(entry order by seq) as entries
    from journal where run_id = t.run_id and seq > coalesce(s.seq, 0)
) j
"""

_LOSSES = "cardinality(abandoned) + (worker is not null)::int"  # of a run that is due, the one included that nobody has noted yet

CLAIM = f"""
with picked as (
    select run_id, 0 as together, 0 as beside from runs
    where wake_at <= now() and {_LOSSES} < {SUSPECT} order by wake_at limit $2 for update skip locked
), {_TAKE}
"""

# The suspects that wait longest, of each kind as many as there is room for ($2), beside those on trial ($3); one that is to be tried alone
# waits until nobody else is, and nobody else comes before it.
CLAIM_SUSPECTS = f"""
with due as (
    select run_id, wake_at, suspects as beside, least({_LOSSES} - {SUSPECT}, {ALONE}) as kind from runs
    where wake_at <= now() and abandoned <> '{{}}' and {_LOSSES} >= {SUSPECT} order by wake_at limit {max(TOGETHER)} for update skip locked
), placed as (
    select *, row_number() over (partition by kind order by wake_at) as place, first_value(kind) over (order by wake_at) as first from due
), picked as (
    select run_id, beside, $3::int + count(*) over () as together from placed
    where case first when {ALONE} then kind = {ALONE} and place = 1 and $3 = 0 else kind < {ALONE} and place <= ($2::int[])[kind + 1] end
), {_TAKE}
"""

# In turns between tenants, those first of whom this worker holds fewest ($3, $4); within a tenant by age, of which a lane takes 30 seconds
# away: a higher priority is a head start, and nobody waits for ever. Within a lane that is the order of time, so the oldest of each lane do.
# The lanes are found by hopping through the index, so that it costs a probe per lane however many runs are queued. Twice as many
# candidates as wanted: other workers may be taking some of them.
CLAIM_FAIRLY = f"""
with recursive lanes as (
    (select tenant, lane from runs where wake_at is not null order by tenant, lane limit 1)
    union all
    select hop.tenant, hop.lane from lanes l cross join lateral (
        select tenant, lane from runs where wake_at is not null and (tenant, lane) > (l.tenant, l.lane) order by tenant, lane limit 1
    ) hop
), due as (
    select d.run_id, d.wake_at + l.lane * interval '30 seconds' as aged,
        coalesce(h.runs, 0) + row_number() over (partition by l.tenant order by d.wake_at + l.lane * interval '30 seconds') as turn
    from lanes l
    cross join lateral (
        select run_id, wake_at from runs where tenant = l.tenant and lane = l.lane and wake_at <= now() and {_LOSSES} < {SUSPECT}
        order by wake_at limit $2
    ) d
    left join unnest($3::text[], $4::bigint[]) as h (tenant, runs) on h.tenant = l.tenant
), first as (
    select * from due order by turn, aged limit 2 * $2
), picked as (
    select r.run_id, 0 as together, 0 as beside from first f join runs r using (run_id) where r.wake_at <= now() and {_LOSSES} < {SUSPECT}
    order by f.turn, f.aged limit $2 for update of r skip locked
), {_TAKE}
"""

RENEW = f"""
update runs r set wake_at = now() + interval '{LEASE_S} seconds'
from unnest($1::text[], $2::bigint[]) as held (run_id, epoch)
where r.run_id = held.run_id and r.epoch = held.epoch and r.worker is not null
returning r.run_id
"""

RELEASE = """
update runs r set wake_at = now(), epoch = r.epoch + 1, worker = null, status = 'queued', suspects = 0
from unnest($1::text[], $2::bigint[]) as held (run_id, epoch)
where r.run_id = held.run_id and r.epoch = held.epoch and r.worker is not null
"""

# The engine broke on the run: tried again after 1, 2, 4 … seconds; one whose journal cannot be read ($4) waits for people.
SET_ASIDE = """
update runs r set wake_at = case when $4 then null else now() + interval '1 second' * power(2, least(cardinality(r.abandoned), 6)) end,
    status = case when $4 then 'quarantined' else 'queued' end,
    epoch = r.epoch + 1, worker = null, abandoned = r.abandoned || $3::text, suspects = 1
where r.run_id = $1 and r.epoch = $2 and r.worker is not null
"""

SUMMARY_COLUMNS = """
    run_id, agent, agent_digest, status, seq, node, steps, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros,
    rehearsal, created_at, started_at, finished_at, pruned_seq
"""

LIST_RUNS = f"""
select {SUMMARY_COLUMNS} from runs
where tenant = $1 and ($2 = '' or agent = $2) and ($3 = '' or status = $3) and ($4 = '' or run_id < $4)
  and ($6 = '' or thread_id = $6) and parent_run_id = $7
order by run_id desc limit $5
"""

APPROVAL_COLUMNS = """
    approval_id, run_id, agent, node, status, summary, details, proposal, asked_at, expires_at, decided_at, decided_by, comment,
    approved_by
"""

LIST_APPROVALS = f"""
select {APPROVAL_COLUMNS} from approvals
where tenant = $1 and ($2 = '' or status = $2) and ($3 = '' or run_id = $3) and approval_id > $4
order by approval_id limit $5
"""

JOURNAL = "select run_id, seq, at, epoch, entry from journal where tenant = $1 and run_id = $2 and seq > $3 order by seq limit $4"

# Where a run stands: its place among the runs that are due before it, and who holds its gates.
STANDING = """
select r.worker, r.wake_at, r.gated, now() as now,
    (select count(*) from (select 1 from runs o where o.wake_at <= least(now(), r.wake_at) and o.run_id <> r.run_id limit 10001) as before) as ahead,
    array(select distinct other.run_id || case when h.status in ('paused', 'quarantined', 'waiting') then ' (' || h.status || ')' else '' end
          from gates mine join gates other on other.tenant = mine.tenant and other.gate = mine.gate join runs h on h.run_id = other.run_id
          where mine.run_id = r.run_id and not mine.admitted and other.admitted limit 5) as held_by
from runs r where r.tenant = $1 and r.run_id = $2
"""

TIES = """
select r.thread_id, r.parent_run_id, array(select g.gate from gates g where g.run_id = r.run_id) as gates,
    array(select c.run_id from runs c where c.parent_run_id = r.run_id and r.run_id <> '' and c.finished_at is null order by c.run_id) as children
from runs r where r.tenant = $1 and r.run_id = $2
"""

JOURNALS_AFTER = """
select j.run_id, j.seq, j.at, j.epoch, j.entry from unnest($1::text[], $2::bigint[]) as a (run_id, seq)
join journal j on j.run_id = a.run_id and j.seq > a.seq order by j.run_id, j.seq
"""

LETTERS = "select run_id, number, letter from mail where run_id = any($1::text[]) order by run_id, number"

LETTERS_AFTER = "select run_id, number, letter from mail where run_id = $1 and number > $2 order by number"

# Locks the run, so that the number of its letters holds until the new one is in.
MAILBOX = """
select r.finished_at is not null as finished,
    (select count(*) from mail m where m.run_id = r.run_id) as letters,
    exists (select 1 from mail m where m.run_id = r.run_id and m.letter_id = $3) as known
from runs r where r.tenant = $1 and r.run_id = $2 for update of r
"""

_THREAD = """
select t.thread_id, t.kept, t.last_run_id, t.created_at, t.updated_at,
    (select g.run_id from gates g where g.tenant = t.tenant and g.gate = 'thread ' || t.thread_id and g.admitted limit 1) as active,
    (select count(*) from gates g where g.tenant = t.tenant and g.gate = 'thread ' || t.thread_id and not g.admitted) as queued
from threads t
"""
THREAD = f"{_THREAD} where t.tenant = $1 and t.thread_id = $2"
LIST_THREADS = f"{_THREAD} where t.tenant = $1 and t.thread_id > $2 order by t.thread_id limit $3"

# The oldest commits, at least one, and no more than `$2` bytes of them. To ask for the length of an entry does not read it.
OUTBOX = """
with oldest as (
    select * from journal_outbox order by position limit $1
), known as (
    select position, s.run_id, s.first_seq, s.last_seq from oldest, unnest(run_ids, first_seqs, last_seqs) as s (run_id, first_seq, last_seq)
), sized as (
    select k.position, coalesce(sum(octet_length(j.entry)), 0) as bytes
    from known k left join journal j on j.run_id = k.run_id and j.seq between k.first_seq and k.last_seq group by k.position
), bounded as (
    select position, sum(bytes) over (order by position) - bytes as before from sized
), stretches as (
    select k.* from known k join bounded b using (position) where b.before < $2
)
select s.position, j.run_id, j.seq, j.tenant, j.epoch, j.at, j.entry, r.agent, r.agent_digest
from stretches s
left join (journal j join runs r using (run_id)) on j.run_id = s.run_id and j.seq between s.first_seq and s.last_seq
order by s.position, j.run_id, j.seq
"""
