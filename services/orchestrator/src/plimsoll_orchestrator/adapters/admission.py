"""Runs that have to wait for their turn: in a thread, or for a concurrency key."""

import asyncpg

from plimsoll_orchestrator.adapters import gates
from plimsoll_orchestrator.adapters.consequences import deliver
from plimsoll_orchestrator.adapters.statements import MAILBOX
from plimsoll_orchestrator.domain.letters import Delivery, InputSent, Letter, StopAsked, Successor
from plimsoll_orchestrator.domain.options import ThreadPolicy
from plimsoll_orchestrator.errors import IdempotencyKeyReused, MailboxFull, ThreadBusy
from plimsoll_orchestrator.ports import Accepted, Submission

MAILBOX_CAP = 1000  # letters that a run has not read

_KNOWN = "select 1 from runs where tenant = $1 and idempotency_key = $2"
_STEERED = """
select s.run_id, s.fingerprint, r.created_at from steered s join runs r using (run_id) where s.tenant = $1 and s.idempotency_key = $2
"""
_STEER = "insert into steered (tenant, idempotency_key, run_id, fingerprint) values ($1, $2, $3, $4)"
# Those who are at a gate; a run that is to begin later is in nobody's way.
_BUSY = """
select g.run_id, g.admitted, g.place, r.agent, r.created_at from gates g join runs r using (run_id)
where g.tenant = $1 and g.gate = $2 and (g.admitted or g.since <= clock_timestamp()) order by g.admitted desc, g.run_id
"""
_THREAD = "insert into threads (tenant, thread_id) values ($1, $2) on conflict do nothing"
_FIRST = 0  # before all that wait: a run that takes the place of another


async def accept_at_gates(connection: asyncpg.Connection, submission: Submission) -> Accepted | None:
    """Make the run durable and let it through its gates when there is room; None when its key was used before. Raises ThreadBusy."""
    options, tenant = submission.first.options, submission.tenant
    before = [gate for gate, _ in gates.gates_of(options)]
    async with connection.transaction():
        await gates.lock(connection, tenant, before)
        if submission.idempotency_key:
            if await connection.fetchval(_KNOWN, tenant, submission.idempotency_key):
                return None
            steered = await connection.fetchrow(_STEERED, tenant, submission.idempotency_key)
            if steered is not None:
                return _steered_before(submission, steered)
        readied: list[str] = []
        place = gates.place_of(options)
        if options.thread_id:
            await connection.execute(_THREAD, tenant, options.thread_id)
            busy = await connection.fetch(_BUSY, tenant, gates.thread_gate(options.thread_id))
            active = next((row for row in busy if row["admitted"]), None)
            match options.thread_policy:
                case ThreadPolicy.REJECT if busy:
                    raise ThreadBusy(
                        f"run {busy[0]['run_id']} of thread {options.thread_id!r} is under way",
                        remedy="wait for it, or submit with another policy: enqueue, interrupt, rollback or steer",
                    )
                case ThreadPolicy.STEER if active is not None:
                    return await _steer(connection, submission, active)
                case ThreadPolicy.INTERRUPT | ThreadPolicy.ROLLBACK:
                    superseded = [row["run_id"] for row in busy if row["admitted"] or row["place"] == _FIRST]
                    readied += await _stop(connection, submission, superseded)
                    place = _FIRST if superseded else place
                case _:
                    pass
        new = gates.Newcomer(
            tenant=tenant,
            run_id=submission.run_id,
            agent=submission.agent,
            agent_digest=submission.agent_digest,
            node=submission.node,
            first=submission.first,
            place=place,
            idempotency_key=submission.idempotency_key,
            fingerprint=submission.fingerprint,
        )
        at = await gates.make(connection, new)
        readied += await gates.admit(connection, tenant, before)
    return Accepted(run_id=submission.run_id, created=True, at=at, readied=readied)


def _steered_before(submission: Submission, known: asyncpg.Record) -> Accepted:
    if known["fingerprint"] != submission.fingerprint:
        raise IdempotencyKeyReused(remedy="use a new key for a new request")
    return Accepted(run_id=known["run_id"], created=False, at=known["created_at"], steered=True)


async def _steer(connection: asyncpg.Connection, submission: Submission, active: asyncpg.Record) -> Accepted:
    run_id, key, first = active["run_id"], submission.idempotency_key, submission.first
    if active["agent"] != submission.agent:
        message = f"run {run_id} of agent {active['agent']} is under way, which takes no input of agent {submission.agent}"
        raise ThreadBusy(message, remedy="wait for it, or submit with another policy: enqueue, interrupt or rollback")
    mailbox = await connection.fetchrow(MAILBOX, submission.tenant, run_id, "")
    if mailbox["letters"] >= MAILBOX_CAP:
        raise MailboxFull(f"{MAILBOX_CAP} letters wait to be read", remedy="wait until the run has read some")
    heir = Successor(
        run_id=submission.run_id,
        agent_digest=submission.agent_digest,
        node=submission.node,
        options=first.options,
        origin=first.origin,
    )
    letter = InputSent(input_id=submission.run_id, input=first.input, sent_by=first.origin.requested_by, successor=heir)
    await _deliver(connection, [run_id], f"input {submission.run_id}", letter)
    if key:
        await connection.execute(_STEER, submission.tenant, key, run_id, submission.fingerprint)
    return Accepted(run_id=run_id, created=False, at=active["created_at"], steered=True, readied=(run_id,))


async def _stop(connection: asyncpg.Connection, submission: Submission, superseded: list[str]) -> list[str]:
    rollback = submission.first.options.thread_policy is ThreadPolicy.ROLLBACK
    letter = StopAsked(reason=f"superseded by run {submission.run_id}", asked_by="the thread's policy", rollback=rollback)
    return await _deliver(connection, superseded, "stop", letter)


async def _deliver(connection: asyncpg.Connection, run_ids: list[str], letter_id: str, letter: Letter) -> list[str]:
    return await deliver(connection, [Delivery(run_id=run_id, letter_id=letter_id, letter=letter) for run_id in run_ids])
