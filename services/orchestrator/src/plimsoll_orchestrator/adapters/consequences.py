"""What a batch of appends changes beside runs and journals: questions, mailboxes, children, gates, threads, snapshots.

Each has a statement of its own, in the transaction of the append, and is run only when the batch has some of it: the usual batch has none.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import msgspec
from msgspec.structs import replace
from plimsoll_runtime.json_types import dump_json

from plimsoll_orchestrator.adapters import gates
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalGiven,
    RunStarted,
    RunStatus,
    VersionChanged,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import Delivery, InputSent, decode_letter, encode_letter
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import Append

_ASK = """
insert into approvals (approval_id, tenant, run_id, agent, node, status, summary, details, proposal, expires_at)
select approval_id, tenant, run_id, agent, node, 'pending', summary, details, proposal, expires_at
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
    as a (approval_id, tenant, run_id, agent, node, summary, details, proposal, expires_at)
"""
_DECIDE = """
update approvals a set status = d.status, decided_at = now(), decided_by = d.decided_by, comment = d.comment,
    approved_by = case when d.status = 'approved' and d.decided_by <> '' then a.approved_by || d.decided_by else a.approved_by end
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as d (run_id, approval_id, status, decided_by, comment)
where a.approval_id = d.approval_id and a.run_id = d.run_id
"""
_GIVE = """
update approvals a set approved_by = a.approved_by || g.decided_by
from unnest($1::text[], $2::text[], $3::text[]) as g (run_id, approval_id, decided_by)
where a.approval_id = g.approval_id and a.run_id = g.run_id
"""
_WITHDRAW = "update approvals set status = 'withdrawn', decided_at = now() where run_id = any($1::text[]) and status = 'pending'"
_ANSWERED = """
delete from mail m using unnest($1::text[], $2::bigint[]) as a (run_id, number) where m.run_id = a.run_id and m.number = a.number
"""
_DISCARD = "delete from mail where run_id = any($1::text[]) returning run_id, number, letter, sent_at"
_BIRTHS = """
with born as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, lane, parent_run_id)
    select run_id, tenant, agent, agent_digest, 'queued', 1, node, now(), lane, parent
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[])
        as b (run_id, tenant, agent, agent_digest, node, lane, parent)
    returning run_id, tenant
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select e.run_id, 1, b.tenant, 0, e.entry from unnest($1::text[], $8::text[]) as e (run_id, entry) join born b using (run_id)
)
insert into journal_outbox (run_ids, first_seqs, last_seqs)
select array_agg(run_id), array_agg(1::bigint), array_agg(1::bigint) from born having count(*) > 0
"""
# A letter wakes a run that nobody holds. One that waits before a gate, or is stopped, is woken only by a letter that ends it; a finished
# run gets none.
DELIVER = """
with letters as (
    select * from unnest($1::text[], $2::text[], $3::text[]) with ordinality as l (run_id, letter_id, letter, place)
), fresh as (
    select l.* from letters l where not exists (select 1 from mail m where m.run_id = l.run_id and m.letter_id = l.letter_id)
), counted as (
    select run_id, count(*) as letters, bool_or(letter_id = 'stop') as ends from fresh group by run_id
), addressed as (
    update runs r set mail = r.mail + c.letters,
        wake_at = case when r.worker is null and (c.ends or not r.gated and r.status not in ('paused', 'quarantined')) then now()
                       else r.wake_at end
    from counted c where r.run_id = c.run_id and r.finished_at is null
    returning r.run_id, r.tenant, r.mail - c.letters as before
), put as (
    insert into mail (run_id, number, tenant, letter_id, letter)
    select f.run_id, a.before + row_number() over (partition by f.run_id order by f.place), a.tenant, f.letter_id, f.letter
    from fresh f join addressed a using (run_id)
)
select run_id from addressed
"""
_SNAPSHOTS = """
insert into snapshots (run_id, tenant, seq, body)
select run_id, tenant, seq, body from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) as s (run_id, tenant, seq, body)
on conflict (run_id) do update set seq = excluded.seq, body = excluded.body
"""
_THREADS = """
insert into threads (tenant, thread_id, kept, last_run_id, labels)
select tenant, thread_id, coalesce(kept, '{}'), run_id, string_to_array(labels, ' ')
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as t (tenant, thread_id, kept, run_id, labels)
on conflict (tenant, thread_id) do update
set kept = case when excluded.kept = '{}' then threads.kept else excluded.kept end, last_run_id = excluded.last_run_id, updated_at = now(),
    labels = array(select distinct label from unnest(threads.labels || excluded.labels) as label order by label)
"""
_STILL_BLAMED = """
update runs r set abandoned = array(select jsonb_array_elements_text(a.evidence::jsonb))
from unnest($1::text[], $2::text[]) as a (run_id, evidence) where r.run_id = a.run_id
"""
_LOOK_AT = """
update runs r set wake_at = l.at from unnest($1::text[], $2::timestamptz[]) as l (run_id, at)
where r.run_id = l.run_id and r.gated and r.worker is null and r.finished_at is null
"""
_VERSIONS = """
update runs r set agent_digest = v.agent_digest from unnest($1::text[], $2::text[]) as v (run_id, agent_digest) where r.run_id = v.run_id
"""


def has_consequences(batch: Sequence[Append]) -> bool:
    """Whether anything beside runs and journals changes."""
    return any(
        append.births
        or append.deliveries
        or append.answered
        or append.snapshot
        or append.abandoned
        or append.look_at is not None
        or append.run.approvals
        or append.run.options.follow_latest
        or (append.run.is_final and (_may_have_mail(append) or append.run.options.thread_id or append.run.options.concurrency_key))
        for append in batch
    )


@dataclass(frozen=True, slots=True)
class _Write:
    """Run `statement` with a list of rows turned into arrays."""

    statement: str
    rows: Callable[[Append], Sequence[tuple[object, ...]]]


def _asked(append: Append) -> Sequence[tuple[object, ...]]:
    return [
        (
            entry.approval_id,
            append.tenant,
            append.run_id,
            append.run.agent,
            entry.node,
            entry.summary,
            dump_json(entry.details),
            msgspec.json.encode(entry.proposal).decode() if entry.proposal else None,
            entry.expires_at,
        )
        for entry in append.entries
        if isinstance(entry, ApprovalAsked)
    ]


def _given(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, entry.approval_id, entry.decided_by) for entry in append.entries if isinstance(entry, ApprovalGiven)]


def _decided(append: Append) -> Sequence[tuple[object, ...]]:
    return [
        (append.run_id, entry.approval_id, entry.status.value, entry.decided_by, entry.comment)
        for entry in append.entries
        if isinstance(entry, ApprovalDecided)
    ]


def _withdrawn(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id,)] if append.run.is_final and append.run.approvals else []


def _answered(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, number) for number in append.answered]


def _may_have_mail(append: Append) -> bool:
    """A run does not succeed with a letter that its writer does not know of; otherwise it may end with one."""
    return append.mail > 0 or append.run.status is not RunStatus.SUCCEEDED


def _births(append: Append) -> Sequence[tuple[object, ...]]:
    return [
        (
            birth.run_id,
            append.tenant,
            birth.agent,
            birth.agent_digest,
            birth.first.node,
            10 - birth.first.options.priority,
            append.run_id,
            encode_entry(birth.first),
        )
        for birth in append.births
    ]


def _snapshots(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, append.tenant, append.run.seq, append.snapshot)] if append.snapshot else []


def _threads(append: Append) -> Sequence[tuple[object, ...]]:
    if not append.run.is_final or not append.run.options.thread_id:
        return []
    kept = dump_json(append.kept) if append.kept is not None else None
    labels = " ".join(append.run.labels) if append.kept else ""
    return [(append.tenant, append.run.options.thread_id, kept, append.run_id, labels)]


def _versions(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, entry.agent_digest) for entry in append.entries if isinstance(entry, VersionChanged)]


def _still_blamed(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, dump_json(list(append.abandoned)))] if append.abandoned and append.entries else []


def _looked_at(append: Append) -> Sequence[tuple[object, ...]]:
    return [(append.run_id, append.look_at)] if append.look_at is not None else []


_WRITES = (
    _Write(_ASK, _asked),
    _Write(_GIVE, _given),
    _Write(_DECIDE, _decided),
    _Write(_WITHDRAW, _withdrawn),
    _Write(_ANSWERED, _answered),
    _Write(_BIRTHS, _births),
    _Write(_SNAPSHOTS, _snapshots),
    _Write(_THREADS, _threads),
    _Write(_VERSIONS, _versions),
    _Write(_STILL_BLAMED, _still_blamed),
    _Write(_LOOK_AT, _looked_at),
)


async def write_consequences(connection: asyncpg.Connection, batch: Sequence[Append], moved: Collection[str]) -> list[str]:
    """Write what follows from the appends that went through; returns other runs that may go on now."""
    ours = [append for append in batch if append.run_id in moved]
    for write in _WRITES:
        rows = [row for append in ours for row in write.rows(append)]
        if rows:
            await connection.execute(write.statement, *map(list, zip(*rows, strict=True)))
    readied = [birth.run_id for append in ours for birth in append.births]
    readied += await deliver(connection, [delivery for append in ours for delivery in append.deliveries])
    return readied + await _leave(connection, [append for append in ours if append.run.is_final])


async def lock_gates(connection: asyncpg.Connection, batch: Sequence[Append]) -> None:
    """Hold the gates that runs of the batch leave."""
    await gates.lock_all(
        connection, [(append.tenant, gate) for append in batch if append.run.is_final for gate, _ in gates.gates_of(append.run.options)]
    )


async def _leave(connection: asyncpg.Connection, ended: Sequence[Append]) -> list[str]:
    """What runs leave behind when they end: letters that nobody reads any more, and their places."""
    freed = await _hand_on(connection, {append.run_id: append for append in ended if _may_have_mail(append)})
    leaving = [append.run_id for append in ended if append.run.options.thread_id or append.run.options.concurrency_key]
    freed += await gates.leave(connection, leaving) if leaving else []
    admitted = []
    for tenant in sorted({tenant for tenant, _ in freed}):
        admitted += await gates.admit(connection, tenant, [gate for owner, gate in freed if owner == tenant])
    return admitted


async def _hand_on(connection: asyncpg.Connection, ended: Mapping[str, Append]) -> list[tuple[str, str]]:
    """Discard letters to runs that ended. Input among them was accepted: it becomes a run of its own, next in the thread.

    Returns the gates, (tenant, gate), before which such runs wait.
    """
    waited_at: list[tuple[str, str]] = []
    rows = await connection.fetch(_DISCARD, list(ended)) if ended else []
    for row in sorted(rows, key=lambda row: (row["run_id"], row["number"])):
        try:
            letter = decode_letter(row["letter"])
        except JournalBroken:
            continue  # of a kind that this version does not know
        if isinstance(letter, InputSent) and letter.successor is not None:
            append, heir = ended[row["run_id"]], letter.successor
            new = gates.Newcomer(
                tenant=append.tenant,
                run_id=heir.run_id,
                agent=append.run.agent,
                agent_digest=heir.agent_digest,
                node=heir.node,
                first=RunStarted(input=letter.input, options=heir.options, origin=replace(heir.origin, steered_run_id=append.run_id)),
                place=gates.place_of(heir.options),
                since=row["sent_at"],
            )
            await gates.make(connection, new)
            waited_at += [(append.tenant, gate) for gate, _ in gates.gates_of(heir.options)]
    return waited_at


async def deliver(connection: asyncpg.Connection, deliveries: Sequence[Delivery]) -> list[str]:
    """Put letters into mailboxes; returns the runs that have some to read."""
    if not deliveries:
        return []
    rows = await connection.fetch(
        DELIVER,
        [one.run_id for one in deliveries],
        [one.letter_id for one in deliveries],
        [encode_letter(one.letter) for one in deliveries],
    )
    return [row["run_id"] for row in rows]
