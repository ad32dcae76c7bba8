"""The journal as an outbox: stretches that were committed and are still to be published."""

from collections.abc import Callable, Sequence

import asyncpg
from plimsoll_runtime import logs
from plimsoll_runtime.bus import Outgoing
from plimsoll_runtime.outbox import Fetched

from plimsoll_orchestrator.adapters.statements import OUTBOX
from plimsoll_orchestrator.domain.journal import decode_entry
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import JournalEntry

SUBJECT = "plimsoll.v1.orchestrator.run.advanced"
_FETCH_BYTES = 32 * 1024 * 1024


class JournalOutbox:
    """`encode` makes the event of an entry: (tenant, agent, agent digest, entry) → bytes."""

    def __init__(self, encode: Callable[[str, str, str, JournalEntry], bytes], log: logs.Log) -> None:
        self._encode = encode
        self._log = log

    async def fetch(self, connection: asyncpg.Connection, limit: int) -> Fetched:
        rows = await connection.fetch(OUTBOX, limit, _FETCH_BYTES)
        there = [row for row in rows if row["run_id"] is not None]  # of a run that was taken away nothing is told, and nobody waits
        messages = [message for row in there if (message := self._outgoing(row)) is not None]
        return Fetched(messages, sorted({row["position"] for row in rows}))

    async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None:
        await connection.execute("delete from journal_outbox where position = any($1::bigint[])", positions)

    def _outgoing(self, row: asyncpg.Record) -> Outgoing | None:
        """None for an entry that cannot be read: it is passed over, because it would hold up everybody's."""
        try:
            known = decode_entry(row["entry"])
        except JournalBroken as error:
            self._log.error("entry.unpublished", {"run_id": row["run_id"], "seq": row["seq"], "reason": error.reason})
            return None
        entry = JournalEntry(run_id=row["run_id"], seq=row["seq"], at=row["at"], epoch=row["epoch"], entry=known)
        payload = self._encode(row["tenant"], row["agent"], row["agent_digest"], entry)
        return Outgoing(subject=SUBJECT, payload=payload, message_id=f"{entry.run_id}:{entry.seq}", tenant=row["tenant"])
