"""Gates: a thread, or a concurrency key. Runs that begin before them, queue, are let through, and leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from plimsoll_orchestrator.domain.journal import RunStarted, encode_entry
from plimsoll_orchestrator.domain.options import RunOptions

# In one order for everybody, and before any row is locked: whoever is at a gate holds it first.
_LOCK = """
select pg_advisory_xact_lock(hashtextextended(gate, 0)) from (select distinct gate from unnest($1::text[]) as g (gate) order by gate) as g
"""
_LEAVE = "delete from gates where run_id = any($1::text[]) returning tenant, gate"
_ADMIT = "select admit($1, $2::text[]) as run_id"
_MAKE = """
with made as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, idempotency_key, fingerprint, lane, gated, thread_id)
    values ($1, $2, $3, $4, 'queued', 1, $5, $14, nullif($6, ''), $7, $8, true, $9)
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry) values ($1, 1, $2, 0, $10)
), placed as (
    insert into gates (tenant, gate, run_id, place, most, since)
    select $2, gate, $1, $13, most, coalesce($15, now()) from unnest($11::text[], $12::integer[]) as g (gate, most)
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs) values (array[$1::text], array[1::bigint], array[1::bigint])
)
select now() as at
"""
# Lets go of a run whose turn has not come, until `$3`; or goes on holding it when it was let through just now ($4).
_HOLD_OR_LEAVE = """
update runs r set
    wake_at = case when $4 then now() + $5 * interval '1 second' else $3 end,
    worker = case when $4 then r.worker end, status = case when $4 then r.status else 'queued' end,
    epoch = case when $4 then r.epoch else r.epoch + 1 end
where r.run_id = $1 and r.epoch = $2 and r.worker is not null
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A run that begins before its gates.

    Attributes:
    place  smaller comes first; see place_of
    since  when it came; None means now
    """

    tenant: str
    run_id: str
    agent: str
    agent_digest: str
    node: str
    first: RunStarted
    place: int
    since: datetime | None = None
    idempotency_key: str = ""
    fingerprint: str = ""


def gates_of(options: RunOptions) -> list[tuple[str, int]]:
    """(gate, how many it lets through at once) of a run."""
    gates = []
    if options.thread_id:
        gates.append((thread_gate(options.thread_id), 1))
    if options.concurrency_key:
        gates.append((f"key {options.concurrency_key}", max(1, options.concurrency_limit)))
    return gates


def thread_gate(thread_id: str) -> str:
    return f"thread {thread_id}"


def place_of(options: RunOptions) -> int:
    """A run's place before its gates among those that came at the same time: its priority."""
    return 10 - options.priority


def looked_at(options: RunOptions, now: datetime | None = None) -> datetime | None:
    """When to look at a run whose turn has not come, after `now`: when it takes its place, and when its deadline passes."""
    moments = (options.not_before, options.deadline)
    return min((at for at in moments if at is not None and (now is None or at > now)), default=None)


async def lock(connection: asyncpg.Connection, tenant: str, gates: Sequence[str]) -> None:
    """Hold gates until the end of the transaction."""
    await lock_all(connection, [(tenant, gate) for gate in gates])


async def lock_all(connection: asyncpg.Connection, gates: Sequence[tuple[str, str]]) -> None:
    """Hold (tenant, gate) until the end of the transaction."""
    if gates:
        await connection.execute(_LOCK, [f"{tenant} {gate}" for tenant, gate in gates])


async def make(connection: asyncpg.Connection, new: Newcomer) -> datetime:
    """Make a run before its gates; returns when."""
    options = new.first.options
    gates = gates_of(options)
    at: datetime = await connection.fetchval(
        _MAKE,
        new.run_id,
        new.tenant,
        new.agent,
        new.agent_digest,
        new.node,
        new.idempotency_key,
        new.fingerprint,
        10 - options.priority,
        options.thread_id,
        encode_entry(new.first),
        [gate for gate, _ in gates],
        [most for _, most in gates],
        new.place,
        looked_at(options),
        new.since or options.not_before,
    )
    return at


async def admit(connection: asyncpg.Connection, tenant: str, gates: Sequence[str]) -> list[str]:
    """Let through whom the gates have room for."""
    rows = await connection.fetch(_ADMIT, tenant, sorted(set(gates)))
    return [row["run_id"] for row in rows]


async def leave(connection: asyncpg.Connection, run_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Take runs from their gates; returns (tenant, gate) of each."""
    return [(row["tenant"], row["gate"]) for row in await connection.fetch(_LEAVE, run_ids)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A claimed run that asks for its turn. `until` is when to look at it again should it not have come."""

    tenant: str
    run_id: str
    epoch: int
    gates: Sequence[str]
    until: datetime | None


async def take_place(connection: asyncpg.Connection, asking: Asking, lease_s: float) -> bool:
    """Whether the run's turn has come: then the claim goes on for a whole lease; else the run is let go of."""
    async with connection.transaction():
        await lock(connection, asking.tenant, asking.gates)
        through = asking.run_id in await admit(connection, asking.tenant, asking.gates)
        await connection.execute(_HOLD_OR_LEAVE, asking.run_id, asking.epoch, asking.until, through, lease_s)
    return through
