"""Monitors and alerts in Postgres; an alert is announced through the outbox of the transaction that raises it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import asyncpg
from plimsoll_runtime.outbox import OutboxEvent, add_events

from plimsoll_feedback.adapters.monitor_rows import (
    ALERT_COLUMNS,
    alert_from_row,
    alert_to_row,
    monitor_from_row,
    usual_from_row,
    watched_to_row,
)
from plimsoll_feedback.adapters.postgres_feed import move_cursor
from plimsoll_feedback.adapters.postgres_session import ingesting, reading, writing
from plimsoll_feedback.domain.monitor import Alert, AlertStatus, Measure, Monitor, Standing, Usual, Watched, restarted
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.ports.monitors import Advance, AlertFilter, Delivery, Judged, Settlement

AnnounceAlert: TypeAlias = Callable[[Alert], OutboxEvent]

_KEY: Final = "(tenant, subject_kind, subject, measure, category)"
_KEYS: Final = "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]"
_USUAL: Final = f"select *, size as baseline_size from baselines where {_KEY} in (select * from {_KEYS}))"
_MONITORS: Final = f"""
select * from monitors where (tenant, subject_kind, subject, measure, category, version) in (select * from {_KEYS}, $6::text[]))
"""
_CATEGORIES: Final = """
select tenant, subject, category from baselines
where measure = 'category' and subject_kind = 'agent' and (tenant, subject) in (select * from unnest($1::text[], $2::text[]))
"""
_PUT_USUAL: Final = f"""
insert into baselines (tenant, subject_kind, subject, measure, category, gathered, size, mean, cut, complete)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict {_KEY} do update set gathered = excluded.gathered, size = excluded.size, mean = excluded.mean, cut = excluded.cut,
    complete = excluded.complete, updated_at = now()
"""
_PUT_MONITOR: Final = """
insert into monitors (
    tenant, subject_kind, subject, measure, category, version, monitor_id, bound, alpha, minimum, started, size, recent, alert_id
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (tenant, subject_kind, subject, measure, category, version) do update set
    started = excluded.started, size = excluded.size, recent = excluded.recent, alert_id = excluded.alert_id, updated_at = now()
"""
_PUT_ALERT: Final = f"""
insert into alerts ({ALERT_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""
_DELIVER: Final = "insert into alert_deliveries (tenant, alert_id) values ($1, $2)"
_JUDGED: Final = """
select monitors.*, gathered, baselines.size as baseline_size, mean, cut, complete
from monitors join baselines using (tenant, subject_kind, subject, measure, category)
"""
_FIND: Final = f"""
{_JUDGED} where tenant = $1 and ($2::text is null or subject = $2) and ($3::text is null or measure = $3)
and ($5::timestamptz is null or (monitors.updated_at, monitor_id) < ($5, $6))
order by monitors.updated_at desc, monitor_id desc limit $4
"""
_ALERTS: Final = """
select * from alerts
where tenant = $1 and ($2::text is null or subject = $2) and ($3::text is null or measure = $3) and ($4::text is null or status = $4)
and ($6::timestamptz is null or (raised_at, alert_id) < ($6, $7))
order by raised_at desc, alert_id desc limit $5
"""
_SETTLE: Final = """
update alerts set status = $3, settled_by = $4, comment = $5, settled_at = $6
where tenant = $1 and alert_id = $2 and status <> 'resolved' and (status <> $3 or settled_by <> $4 or comment <> $5) returning *
"""
_DUE: Final = """
with due as (
    select tenant, alert_id from alert_deliveries where next_at <= clock_timestamp() order by next_at limit $1 for update skip locked
), taken as (
    update alert_deliveries set next_at = clock_timestamp() + make_interval(secs => $2), tries = tries + 1
    from due where alert_deliveries.tenant = due.tenant and alert_deliveries.alert_id = due.alert_id
    returning alert_deliveries.tenant, alert_deliveries.alert_id, tries
)
select alerts.*, taken.tries from taken join alerts using (tenant, alert_id)
"""


class PostgresMonitorStore:
    """Keeps baselines, monitors and alerts; `announce` makes the event that tells others of an alert."""

    def __init__(self, pool: asyncpg.Pool, announce: AnnounceAlert) -> None:
        self._pool = pool
        self._announce = announce

    async def standing(self, usual: Sequence[Watched], monitors: Sequence[tuple[Watched, str]]) -> Standing:
        """What is known of these."""
        keys = [(*watched_to_row(watched), version) for watched, version in monitors]
        async with ingesting(self._pool) as connection:
            found = await connection.fetch(_USUAL, *map(list, zip(*map(watched_to_row, usual), strict=True)))
            rows = await connection.fetch(_MONITORS, *map(list, zip(*keys, strict=True)))
        known, watching = map(usual_from_row, found), map(monitor_from_row, rows)
        return Standing(usual={one.watched: one for one in known}, monitors={(one.watched, one.version): one for one in watching})

    async def categories(self, agents: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[str]]:
        """Which categories each tenant's agent is watched for."""
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_CATEGORIES, [tenant for tenant, _ in agents], [agent for _, agent in agents])
        found: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            found.setdefault((row["tenant"], row["subject"]), []).append(row["category"])
        return found

    async def advance(self, change: Advance, *, deliver: bool) -> bool:
        """Everything with the follower's place, or nothing."""
        async with ingesting(self._pool) as connection:
            if not await move_cursor(connection, change.turn):
                return False
            # In the order of the key, so that those who follow operations and those who follow signals cannot lock each other out.
            standing = change.standing
            await connection.executemany(_PUT_USUAL, [_usual_to_row(standing.usual[key]) for key in sorted(standing.usual)])
            await connection.executemany(_PUT_MONITOR, [_monitor_to_row(standing.monitors[key]) for key in sorted(standing.monitors)])
            for alert in change.alerts:
                await connection.execute(_PUT_ALERT, *alert_to_row(alert))
                if deliver:
                    await connection.execute(_DELIVER, alert.tenant, alert.id)
            await add_events(connection, [self._announce(alert) for alert in change.alerts])
            return True

    async def find(self, tenant: str, subject: str | None, measure: Measure | None, page: PageRequest) -> Sequence[Judged]:
        """A page of monitors, latest change first."""
        after = (page.after.at, page.after.id) if page.after else (None, "")
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(_FIND, tenant, subject, measure.value if measure else None, page.size, *after)
        return list(map(_judged, rows))

    async def reset(self, tenant: str, monitor_id: str, settlement: Settlement) -> Judged | None:
        """Forget the baseline, its monitors and their open alerts."""
        async with writing(self._pool, tenant) as connection:
            row = await connection.fetchrow(f"{_JUDGED} where tenant = $1 and monitor_id = $2", tenant, monitor_id)
            if row is None:
                return None
            monitor = monitor_from_row(row)
            key = watched_to_row(monitor.watched)
            same = "tenant = $1 and subject_kind = $2 and subject = $3 and measure = $4 and category = $5"
            open_ones = await connection.fetch(f"select alert_id from alerts where {same} and status <> 'resolved'", *key)
            for alert in open_ones:
                await self._settle(connection, tenant, alert["alert_id"], settlement)
            await connection.execute(f"delete from monitors where {same}", *key)
            await connection.execute(f"delete from baselines where {same}", *key)
            return Judged(monitor=restarted(monitor), usual=Usual(watched=monitor.watched), updated_at=settlement.at)

    async def alerts(self, tenant: str, where: AlertFilter, page: PageRequest) -> Sequence[Alert]:
        """A page of alerts, newest first."""
        after = (page.after.at, page.after.id) if page.after else (None, "")
        asked = (where.subject, where.measure.value if where.measure else None, where.status.value if where.status else None)
        async with reading(self._pool, tenant) as connection:
            return list(map(alert_from_row, await connection.fetch(_ALERTS, tenant, *asked, page.size, *after)))

    async def settle(self, tenant: str, alert_id: str, settlement: Settlement) -> Alert | None:
        """Acknowledge or resolve it."""
        async with writing(self._pool, tenant) as connection:
            return await self._settle(connection, tenant, alert_id, settlement)

    async def due(self, limit: int, lease_s: float) -> Sequence[Delivery]:
        """Deliveries whose time has come, leased."""
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_DUE, limit, lease_s)
        return [Delivery(alert=alert_from_row(row), tries=row["tries"]) for row in rows]

    async def delivered(self, alert: Alert) -> None:
        """It need not be sent again."""
        async with writing(self._pool, alert.tenant) as connection:
            await connection.execute("delete from alert_deliveries where tenant = $1 and alert_id = $2", alert.tenant, alert.id)

    async def failed(self, alert: Alert, pause_s: float) -> None:
        """Try again after a pause."""
        async with writing(self._pool, alert.tenant) as connection:
            await connection.execute(
                "update alert_deliveries set next_at = clock_timestamp() + make_interval(secs => $3) where tenant = $1 and alert_id = $2",
                alert.tenant,
                alert.id,
                pause_s,
            )

    async def _settle(self, connection: asyncpg.Connection, tenant: str, alert_id: str, settlement: Settlement) -> Alert | None:
        said = (settlement.status.value, settlement.by, settlement.comment, settlement.at)
        row = await connection.fetchrow(_SETTLE, tenant, alert_id, *said)
        if row is None:  # resolved before, the same said again, or none
            row = await connection.fetchrow("select * from alerts where tenant = $1 and alert_id = $2", tenant, alert_id)
            return None if row is None else alert_from_row(row)
        if settlement.status is AlertStatus.RESOLVED:
            found = "select * from monitors where tenant = $1 and monitor_id = $2 and alert_id = $3 for update"
            watching = await connection.fetchrow(found, tenant, row["monitor_id"], alert_id)
            if watching is not None:
                await connection.execute(_PUT_MONITOR, *_monitor_to_row(restarted(monitor_from_row(watching))))
        return alert_from_row(row)


def _usual_to_row(usual: Usual) -> tuple[object, ...]:
    return (*watched_to_row(usual.watched), list(usual.gathered), usual.size, usual.mean, usual.cut, usual.complete)


def _monitor_to_row(monitor: Monitor) -> tuple[object, ...]:
    watch = monitor.watch
    bet = (list(watch.bet.started), watch.bet.size, watch.bet.recent)
    return (*watched_to_row(monitor.watched), monitor.version, monitor.id, watch.bound, watch.alpha, watch.minimum, *bet, monitor.alert_id)


def _judged(row: asyncpg.Record) -> Judged:
    return Judged(monitor=monitor_from_row(row), usual=usual_from_row(row), updated_at=row["updated_at"])
