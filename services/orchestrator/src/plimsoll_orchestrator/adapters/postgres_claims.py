"""Claims, leases and commits in PostgreSQL: what workers do."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import parse_object
from plimsoll_runtime.kept_connections import KeptConnections
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.adapters import gates
from plimsoll_orchestrator.adapters import statements as sql
from plimsoll_orchestrator.adapters.append_statement import append_statement
from plimsoll_orchestrator.adapters.consequences import has_consequences, lock_gates, write_consequences
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.deadlocks import persisting
from plimsoll_orchestrator.domain.journal import RunStarted, decode_entry
from plimsoll_orchestrator.domain.letters import Received, decode_letter, stop_in
from plimsoll_orchestrator.domain.options import USUAL
from plimsoll_orchestrator.domain.poison import room
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import Append, Appended, Claimed, Committed, JournalEntry, Kept, Snapshot

ACQUIRE_CAP_S = 5.0
_COMMITTING = 2  # commits side by side
_FAULT_CAP = 500


class PostgresClaimStore:
    """The ClaimStore."""

    def __init__(self, pool: asyncpg.Pool, clock: DatabaseClock) -> None:
        self._pool = pool
        self._clock = clock
        self._contended = False
        self._commits: asyncpg.Pool | KeptConnections = pool

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keep the connections of commits inside the block, where commits are many."""
        async with KeptConnections(self._pool, most=_COMMITTING) as kept:
            self._commits = kept
            try:
                yield
            finally:
                self._commits = self._pool

    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        """Taking in turns between tenants costs more and matters only when there is more to take than room: when the last claim was full."""
        if self._contended:
            taken, claimed = await self._take(sql.CLAIM_FAIRLY, worker, limit, list(held), list(held.values()))
        else:
            taken, claimed = await self._take(sql.CLAIM, worker, limit)
        self._contended = taken >= limit
        return claimed

    async def claim_suspects(self, worker: str, on_trial: Sequence[int]) -> Sequence[Claimed]:
        _, claimed = await self._take(sql.CLAIM_SUSPECTS, worker, room(on_trial), len(on_trial))
        return claimed

    async def _take(self, statement: str, *arguments: object) -> tuple[int, Sequence[Claimed]]:
        """How many were taken, and those of them that may be advanced."""
        with translating():
            async with self._pool.acquire(timeout=ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(statement, *arguments)
                if not rows:
                    return 0, []
                self._clock.set(rows[0]["at"])
                later = await _read_on(connection, rows)
                letters = await _letters(connection, [row["run_id"] for row in rows if row["mail"]])
        readable = []
        for row in rows:
            try:
                entries = [entry_of(one) for one in later.get(row["run_id"], ())]
                claimed = _claimed(row, entries, [_received(one) for one in letters.get(row["run_id"], ())])
                if not row["gated"] or await self._may_go_on(claimed, row["at"]):
                    readable.append(claimed)
            except JournalBroken as error:  # one journal that cannot be read must not keep all others from being claimed
                await self.set_aside(row["run_id"], row["epoch"], f"{error.reason}: {error}", unreadable=True)
        return len(rows), readable

    async def _may_go_on(self, claimed: Claimed, now: datetime) -> bool:
        """Whether a run that waits before a gate is let through now, or is to end: its deadline has passed, or it is told to stop."""
        first = claimed.entries[0].entry
        options = claimed.snapshot.run.options if claimed.snapshot else first.options if isinstance(first, RunStarted) else USUAL
        if stop_in(claimed.letters) is not None or (options.deadline is not None and options.deadline <= now):
            return True
        asking = gates.Asking(
            tenant=claimed.tenant,
            run_id=claimed.run_id,
            epoch=claimed.epoch,
            gates=[gate for gate, _ in gates.gates_of(options)],
            until=gates.looked_at(options, now),
        )

        async def ask() -> bool:
            async with self._pool.acquire(timeout=ACQUIRE_CAP_S) as connection:
                return await gates.take_place(connection, asking, sql.LEASE_S)

        try:
            with translating():
                return await persisting(ask)
        except PlimsollError:  # those that were claimed with it are not dropped for that; its lease ends, and somebody asks again
            return False

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        with translating():
            rows = await persisting(lambda: self._pool.fetch(sql.RENEW, list(held), list(held.values())))
        return [row["run_id"] for row in rows]

    async def release(self, held: Mapping[str, int]) -> None:
        with translating():
            await persisting(lambda: self._pool.execute(sql.RELEASE, list(held), list(held.values())))

    async def set_aside(self, run_id: str, epoch: int, fault: str, *, unreadable: bool = False) -> None:
        with translating():
            await self._pool.execute(sql.SET_ASIDE, run_id, epoch, fault[:_FAULT_CAP], unreadable)

    async def append(self, batch: Sequence[Append]) -> Committed:
        with translating():
            return await append_all(self._commits, self._clock, batch)

    async def letters(self, run_id: str, after: int) -> Sequence[Received]:
        with translating():
            rows = await self._pool.fetch(sql.LETTERS_AFTER, run_id, after)
        return [_received(row) for row in rows]

    async def kept(self, tenant: str, thread_id: str) -> Kept:
        with translating():
            row = await self._pool.fetchrow("select kept, labels from threads where tenant = $1 and thread_id = $2", tenant, thread_id)
        return Kept(fields=parse_object(row["kept"]), labels=tuple(row["labels"])) if row else Kept(fields={})


async def append_all(pool: asyncpg.Pool | KeptConnections, clock: DatabaseClock, batch: Sequence[Append]) -> Committed:
    """Commit the appends whose runs are still held, with all that follows from them, in one transaction."""
    statement, arguments = append_statement(batch)  # before a connection is taken
    if not has_consequences(batch):
        return _committed(await persisting(lambda: pool.fetch(statement, *arguments)), clock, [])

    async def transact() -> Committed:
        async with pool.acquire(timeout=ACQUIRE_CAP_S) as connection, connection.transaction():
            await lock_gates(connection, batch)
            rows = await connection.fetch(statement, *arguments)
            readied = await write_consequences(connection, batch, {row["run_id"] for row in rows})
        return _committed(rows, clock, readied)

    return await persisting(transact)


def _committed(rows: Sequence[asyncpg.Record], clock: DatabaseClock, readied: Sequence[str]) -> Committed:
    if rows:
        clock.set(rows[0]["at"])
    return Committed(appended={row["run_id"]: Appended(at=row["at"], mail=row["mail"]) for row in rows}, readied=readied)


async def _read_on(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> Mapping[str, list[asyncpg.Record]]:
    """The journals' entries that were written while the claim was taken."""
    short = [(row["run_id"], _last_read(row)) for row in rows if _last_read(row) < row["seq"]]
    later: dict[str, list[asyncpg.Record]] = {}
    if short:
        for row in await connection.fetch(sql.JOURNALS_AFTER, *map(list, zip(*short, strict=True))):
            later.setdefault(row["run_id"], []).append(row)
    return later


def _last_read(row: asyncpg.Record) -> int:
    return (row["snapshot_seq"] or 0) + len(row["entries"] or ())


async def _letters(connection: asyncpg.Connection, run_ids: Sequence[str]) -> Mapping[str, list[asyncpg.Record]]:
    """Unanswered letters; read after the claim, so that none is missed that the claim has counted."""
    found: dict[str, list[asyncpg.Record]] = {}
    if run_ids:
        for row in await connection.fetch(sql.LETTERS, run_ids):
            found.setdefault(row["run_id"], []).append(row)
    return found


def _claimed(row: asyncpg.Record, later: Sequence[JournalEntry], letters: Sequence[Received]) -> Claimed:
    run_id, first = row["run_id"], (row["snapshot_seq"] or 0) + 1
    entries = [
        JournalEntry(run_id=run_id, seq=seq, at=at, epoch=epoch, entry=decode_entry(text), size=len(text))
        for seq, (at, epoch, text) in enumerate(zip(row["ats"] or (), row["epochs"] or (), row["entries"] or (), strict=True), first)
    ]
    return Claimed(
        run_id=run_id,
        tenant=row["tenant"],
        agent=row["agent"],
        agent_digest=row["agent_digest"],
        epoch=row["epoch"],
        snapshot=Snapshot(run=decode_run(row["snapshot"]), size=len(row["snapshot"])) if row["snapshot"] else None,
        entries=[*entries, *later],
        letters=letters,
        mail=max([row["mail"], *(one.number for one in letters)]),  # some may have come since the claim
        abandoned=row["abandoned"],
        beside=row["beside"],
    )


def _received(row: asyncpg.Record) -> Received:
    return Received(number=row["number"], letter=decode_letter(row["letter"]))


def entry_of(row: asyncpg.Record) -> JournalEntry:
    text = row["entry"]
    return JournalEntry(run_id=row["run_id"], seq=row["seq"], at=row["at"], epoch=row["epoch"], entry=decode_entry(text), size=len(text))
