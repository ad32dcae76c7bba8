"""Standings of models, computed in the database from operations and signals of the last thirty days."""

from collections.abc import Sequence
from math import sqrt
from typing import Final

import asyncpg

from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.domain.learning.standings import Standing
from plimsoll_feedback.domain.learning.statistics import Interval, share

_Z: Final = 1.959964

# A call counts as judged when a person, a judge or the workflow's outcome spoke of it; the last word on it counts. The interval of the
# median are the order statistics that lie as far from the middle as chance would take it.
_STANDINGS: Final = """
with calls as (
    select o.operation_id, o.run_id, coalesce(o.facts ->> 'task', '') as task, coalesce(o.facts ->> 'provider', '') as provider,
        o.name as model, o.cost_micros, o.duration_s, o.category,
        count(*) over (partition by o.facts ->> 'task', o.facts ->> 'provider', o.name) as n
    from operations o
    where o.tenant = $1 and o.kind = 'model_call' and o.started_at > now() - interval '30 days'
      and ($2 = '' or o.facts ->> 'task' = $2) and coalesce(o.facts ->> 'purpose', '') <> 'evaluation'
), verdicts as (
    select distinct on (c.operation_id) c.operation_id,
        coalesce(s.verdict = 'good', s.score >= 0.5, s.outcome, s.demonstration is null) as good
    from calls c join signals s on s.tenant = $1 and s.run_id = c.run_id and c.run_id <> ''
        and (s.operation_id is null or s.operation_id = c.operation_id)
    where s.kind in ('verdict', 'score', 'outcome', 'demonstration')
    order by c.operation_id, s.created_at desc, s.signal_id desc
)
select task, provider, model, count(*) as calls, count(v.good) as judged, count(*) filter (where v.good) as good,
    avg(cost_micros)::double precision as cost, coalesce(stddev_samp(cost_micros), 0)::double precision as cost_spread,
    percentile_cont(array[0.5, greatest(0, 0.5 - 0.98 / sqrt(n)), least(1, 0.5 + 0.98 / sqrt(n))])
        within group (order by duration_s) as latency,
    count(*) filter (where category is not null) as failed
from calls left join verdicts v using (operation_id)
group by task, provider, model, n
"""


class PostgresStandings:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def standings(self, tenant: str, task: str) -> Sequence[Standing]:
        """Of one task, or of all."""
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(_STANDINGS, tenant, task)
        return [_standing(row) for row in rows]


def _standing(row: asyncpg.Record) -> Standing:
    calls, half = row["calls"], _Z * row["cost_spread"] / sqrt(row["calls"])
    middle, low, high = row["latency"]
    return Standing(
        task=row["task"],
        provider=row["provider"],
        model=row["model"],
        calls=calls,
        judged=row["judged"],
        quality=row["good"] / row["judged"] if row["judged"] else 0.0,
        quality_interval=share(row["good"], row["judged"]),
        cost_micros=row["cost"],
        cost_interval=Interval(low=max(0.0, row["cost"] - half), high=row["cost"] + half),
        latency_s=middle,
        latency_interval=Interval(low=low, high=high),
        failed=row["failed"] / calls,
    )
