"""Unfinished runs in PostgreSQL, whole pages of them at a time."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.ports.unfinished import Unfinished

_PAGE = """
select r.run_id, r.agent_digest, r.status, r.node, s.body, j.seqs, j.ats, j.entries
from (
    select run_id, agent_digest, status, node from runs
    where tenant = $1 and agent = $2 and finished_at is null and run_id > $3 order by run_id limit $4
) r
left join snapshots s on s.run_id = r.run_id
cross join lateral (
    select array_agg(seq order by seq) as seqs, array_agg(at order by seq) as ats, array_agg(entry order by seq) as entries
    from journal where run_id = r.run_id and seq > coalesce(s.seq, 0)
) j
order by r.run_id
"""


class PostgresUnfinishedRuns:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, tenant: str, agent: str, after: str, limit: int) -> Sequence[Unfinished]:
        with translating():
            rows = await self._pool.fetch(_PAGE, tenant, agent, after, limit)
        return [
            Unfinished(
                run_id=row["run_id"],
                agent_digest=row["agent_digest"],
                status=RunStatus(row["status"]),
                node=row["node"],
                snapshot=row["body"] or "",
                entries=list(zip(row["seqs"] or (), row["ats"] or (), row["entries"] or (), strict=True)),
            )
            for row in rows
        ]
