"""Alerts of the monitors, read for what speaks against a promoted version."""

from datetime import datetime
from typing import Final

import asyncpg

from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.ports.improving import Noticed

# Monitors compare with what was usual before; when the world changed, the version before may have done as badly. That is no reason to go
# back to it. Doubt is no harm by itself either: what people and workflows say of the answers is.
_AGAINST: Final = """
select a.alert_id, a.summary from alerts a
where a.tenant = $1 and a.subject_kind = 'prompt' and a.subject = $2 and a.version = $3 and a.raised_at > $4
  and a.measure in ('overrides', 'bad_outcomes', 'failed_runs', 'category', 'costly_runs', 'slow_runs')
  and not exists (
    select from monitors before where before.tenant = a.tenant and before.subject_kind = a.subject_kind and before.subject = a.subject
      and before.measure = a.measure and before.category = a.category and before.version = $5
      and before.size > 0 and before.recent >= a.live_mean
  )
order by a.raised_at, a.alert_id limit 1
"""


class PostgresAlerts:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def against(self, tenant: str, prompt: str, version: str, before: str, since: datetime) -> Noticed | None:
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchrow(_AGAINST, tenant, prompt, version, since, before)
        return Noticed(alert_id=row["alert_id"], what=row["summary"]) if row is not None else None
