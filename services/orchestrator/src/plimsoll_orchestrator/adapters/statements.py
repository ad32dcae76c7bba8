"""The statements of the run store, each one a whole transaction."""

LEASE_S = 15

ACCEPT = """
with made as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, idempotency_key, fingerprint)
    select run_id, tenant, agent, agent_digest, 'queued', 1, node, now(), nullif(idempotency_key, ''), fingerprint
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        as s (run_id, tenant, agent, agent_digest, node, idempotency_key, fingerprint)
    on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
    returning run_id, tenant
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select e.run_id, 1, m.tenant, 0, e.entry from unnest($1::text[], $8::text[]) as e (run_id, entry) join made m using (run_id)
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs)
    select array_agg(run_id), array_agg(1::bigint), array_agg(1::bigint) from made having count(*) > 0
)
select run_id, now() as at from made
"""

CLAIM = f"""
with due as (
    select run_id from runs where wake_at <= now() order by wake_at limit $2 for update skip locked
)
update runs r
set epoch = r.epoch + 1, worker = $1, status = 'running', wake_at = now() + interval '{LEASE_S} seconds',
    started_at = coalesce(r.started_at, now())
from due where r.run_id = due.run_id
returning r.run_id, r.tenant, r.agent, r.agent_digest, r.epoch, now() as at
"""

RENEW = f"""
update runs r set wake_at = now() + interval '{LEASE_S} seconds'
from unnest($1::text[], $2::bigint[]) as held (run_id, epoch)
where r.run_id = held.run_id and r.epoch = held.epoch and r.worker is not null
returning r.run_id
"""

RELEASE = """
update runs r set wake_at = now(), epoch = r.epoch + 1, worker = null, status = 'queued'
from unnest($1::text[], $2::bigint[]) as held (run_id, epoch)
where r.run_id = held.run_id and r.epoch = held.epoch and r.worker is not null
"""

# $1..$17 one element per run, $18..$20 one per entry, $21..$27 one per new question, $28..$32 one per decided question.
APPEND = """
with batch as (
    select * from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::boolean[], $8::timestamptz[], $9::text[],
        $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::boolean[], $17::boolean[]
    ) as b (run_id, tenant, epoch, expected, new_seq, status, released, wake_at, node,
            steps, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros, rehearsal, finished)
), moved as (
    update runs r
    set seq = b.new_seq, node = b.node, status = b.status, steps = b.steps,
        input_tokens = b.input_tokens, output_tokens = b.output_tokens, cached_input_tokens = b.cached_input_tokens,
        reasoning_tokens = b.reasoning_tokens, cost_micros = b.cost_micros, rehearsal = b.rehearsal,
        epoch = case when b.released then r.epoch + 1 else r.epoch end,
        worker = case when b.released then null else r.worker end,
        wake_at = case when b.released then b.wake_at else r.wake_at end,
        finished_at = case when b.finished then now() else r.finished_at end
    from batch b
    where r.run_id = b.run_id and r.tenant = b.tenant and r.seq = b.expected and r.finished_at is null
      and (r.epoch = b.epoch or b.epoch < 0)
    returning r.run_id, r.tenant, r.agent, greatest(b.epoch, 0) as epoch, b.expected, b.new_seq, b.finished
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select e.run_id, e.seq, m.tenant, m.epoch, e.entry
    from unnest($18::text[], $19::bigint[], $20::text[]) as e (run_id, seq, entry) join moved m using (run_id)
), asked as (
    insert into approvals (approval_id, tenant, run_id, agent, node, status, summary, details, proposal, expires_at)
    select a.approval_id, m.tenant, a.run_id, m.agent, a.node, 'pending', a.summary, a.details, a.proposal, a.expires_at
    from unnest($21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::timestamptz[])
        as a (approval_id, run_id, node, summary, details, proposal, expires_at) join moved m using (run_id)
), decided as (
    update approvals a set status = d.status, decided_at = now(), decided_by = d.decided_by, comment = d.comment
    from unnest($28::text[], $29::text[], $30::text[], $31::text[], $32::text[]) as d (run_id, approval_id, status, decided_by, comment)
    join moved m using (run_id)
    where a.approval_id = d.approval_id and a.run_id = m.run_id
), withdrawn as (
    update approvals a set status = 'withdrawn', decided_at = now()
    from moved m where m.finished and a.run_id = m.run_id and a.status = 'pending'
      and a.approval_id <> all($29::text[])
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs)
    select array_agg(run_id), array_agg(expected + 1), array_agg(new_seq) from moved where new_seq > expected having count(*) > 0
)
select run_id, now() as at from moved
"""

SUMMARY_COLUMNS = """
    run_id, agent, agent_digest, status, seq, node, steps, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros,
    rehearsal, created_at, started_at, finished_at
"""

LIST_RUNS = f"""
select {SUMMARY_COLUMNS} from runs
where tenant = $1 and ($2 = '' or agent = $2) and ($3 = '' or status = $3) and ($4 = '' or run_id < $4)
order by run_id desc limit $5
"""

APPROVAL_COLUMNS = """
    approval_id, run_id, agent, node, status, summary, details, proposal, asked_at, expires_at, decided_at, decided_by, comment
"""

LIST_APPROVALS = f"""
select {APPROVAL_COLUMNS} from approvals
where tenant = $1 and ($2 = '' or status = $2) and ($3 = '' or run_id = $3) and approval_id > $4
order by approval_id limit $5
"""

JOURNAL = "select run_id, seq, at, epoch, entry from journal where tenant = $1 and run_id = $2 and seq > $3 order by seq limit $4"

JOURNALS = "select run_id, seq, at, epoch, entry from journal where run_id = any($1::text[]) order by run_id, seq"

OUTBOX = """
with oldest as (
    select * from journal_outbox order by position limit $1
), stretches as (
    select position, s.run_id, s.first_seq, s.last_seq from oldest, unnest(run_ids, first_seqs, last_seqs) as s (run_id, first_seq, last_seq)
)
select s.position, j.run_id, j.seq, j.tenant, j.epoch, j.at, j.entry, r.agent, r.agent_digest
from stretches s
join journal j on j.run_id = s.run_id and j.seq between s.first_seq and s.last_seq
join runs r on r.run_id = j.run_id
order by s.position, j.run_id, j.seq
"""
