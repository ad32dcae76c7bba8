"""Runs that have to wait for their turn: in a thread, or for a concurrency key."""

import asyncpg

from plimsoll_orchestrator.adapters.consequences import LOCK_GATES, admit, deliver, gates_of, thread_gate
from plimsoll_orchestrator.adapters.statements import MAILBOX
from plimsoll_orchestrator.domain.journal import encode_entry
from plimsoll_orchestrator.domain.letters import Delivery, InputSent, Letter, StopAsked
from plimsoll_orchestrator.domain.options import ThreadPolicy
from plimsoll_orchestrator.errors import MailboxFull, ThreadBusy
from plimsoll_orchestrator.ports import Accepted, Submission

MAILBOX_CAP = 1000  # letters that a run has not read

_KNOWN = "select 1 from runs where tenant = $1 and idempotency_key = $2"
_ACTIVE = """
select g.run_id, g.admitted, r.agent, r.created_at from gates g join runs r using (run_id) where g.tenant = $1 and g.gate = $2 order by g.admitted desc
"""
_THREAD = "insert into threads (tenant, thread_id) values ($1, $2) on conflict do nothing"
_MAKE = """
with made as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, idempotency_key, fingerprint, lane, gated, thread_id)
    values ($1, $2, $3, $4, 'queued', 1, $5, $14, nullif($6, ''), $7, $8, true, $9)
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry) values ($1, 1, $2, 0, $10)
), placed as (
    insert into gates (tenant, gate, run_id, place, most)
    select $2, gate, $1, $13, most from unnest($11::text[], $12::integer[]) as g (gate, most)
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs) values (array[$1::text], array[1::bigint], array[1::bigint])
)
select now() as at
"""
_FIRST = 0  # before all that wait: a run that takes the place of another


async def accept_at_gates(connection: asyncpg.Connection, submission: Submission) -> Accepted | None:
    """Make the run durable and let it through its gates when there is room; None when its key was used before. Raises ThreadBusy."""
    options, tenant = submission.first.options, submission.tenant
    gates = gates_of(options)
    async with connection.transaction():
        await connection.execute(LOCK_GATES, [f"{tenant} {gate}" for gate, _ in gates])
        if submission.idempotency_key and await connection.fetchval(_KNOWN, tenant, submission.idempotency_key):
            return None
        readied: list[str] = []
        place = 10 - options.priority
        if options.thread_id:
            await connection.execute(_THREAD, tenant, options.thread_id)
            busy = await connection.fetch(_ACTIVE, tenant, thread_gate(options.thread_id))
            active = next((row for row in busy if row["admitted"]), None)
            match options.thread_policy:
                case ThreadPolicy.REJECT if busy:
                    raise ThreadBusy(
                        f"run {busy[0]['run_id']} of thread {options.thread_id!r} is under way",
                        remedy="wait for it, or submit with another policy: enqueue, interrupt, rollback or steer",
                    )
                case ThreadPolicy.STEER if active is not None:
                    return await _steer(connection, submission, active)
                case ThreadPolicy.INTERRUPT | ThreadPolicy.ROLLBACK if active is not None:
                    readied += await _stop(connection, submission, active["run_id"])
                    place = _FIRST
                case _:
                    pass
        at = await connection.fetchval(
            _MAKE,
            submission.run_id,
            tenant,
            submission.agent,
            submission.agent_digest,
            submission.node,
            submission.idempotency_key,
            submission.fingerprint,
            10 - options.priority,
            options.thread_id,
            encode_entry(submission.first),
            [gate for gate, _ in gates],
            [most for _, most in gates],
            place,
            options.deadline,  # looked at then, though its turn has not come: it fails
        )
        readied += await admit(connection, tenant, [gate for gate, _ in gates])
    return Accepted(run_id=submission.run_id, created=True, at=at, readied=readied)


async def _steer(connection: asyncpg.Connection, submission: Submission, active: asyncpg.Record) -> Accepted:
    if active["agent"] != submission.agent:
        message = f"run {active['run_id']} of agent {active['agent']} is under way, which takes no input of agent {submission.agent}"
        raise ThreadBusy(message, remedy="wait for it, or submit with another policy: enqueue, interrupt or rollback")
    input_id = submission.idempotency_key or submission.run_id
    letter_id = f"input {input_id}"
    mailbox = await connection.fetchrow(MAILBOX, submission.tenant, active["run_id"], letter_id)
    if not mailbox["known"] and mailbox["letters"] >= MAILBOX_CAP:
        raise MailboxFull(f"{MAILBOX_CAP} letters wait to be read", remedy="wait until the run has read some")
    await _deliver(connection, active["run_id"], letter_id, InputSent(input_id=input_id, input=submission.first.input))
    return Accepted(run_id=active["run_id"], created=False, at=active["created_at"], steered=True, readied=(active["run_id"],))


async def _stop(connection: asyncpg.Connection, submission: Submission, active: str) -> list[str]:
    rollback = submission.first.options.thread_policy is ThreadPolicy.ROLLBACK
    letter = StopAsked(reason=f"superseded by run {submission.run_id}", asked_by="the thread's policy", rollback=rollback)
    return await _deliver(connection, active, "stop", letter)


async def _deliver(connection: asyncpg.Connection, run_id: str, letter_id: str, letter: Letter) -> list[str]:
    return await deliver(connection, [Delivery(run_id=run_id, letter_id=letter_id, letter=letter)])
