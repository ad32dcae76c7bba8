"""The queue of annotators in Postgres, and the examples that come of what they agree on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import dump_json, parse_json

from plimsoll_feedback.adapters.learning_rows import body_from_row, lineage_from_row, lineage_to_row, spec_from_row
from plimsoll_feedback.adapters.postgres_parts import keeping_both
from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_feedback.domain.learning import deeds
from plimsoll_feedback.domain.learning.annotation import Agreed, Annotation, Discarded, Disputed, Pending, consensus
from plimsoll_feedback.domain.learning.datasets import DatasetName, DatasetSpec, ExampleId, ItemId, label_of
from plimsoll_feedback.errors import ItemClosed, ItemNotFound
from plimsoll_feedback.ports.learning import Item, Outcome

_CLAIM: Final = """
with free as (
    select item_id from dataset_items i
    where tenant = $1 and dataset = $2 and status = 'pending'
      and (claimed_until is null or claimed_until <= now() or claimed_by = $3)
      and not exists (select from annotations a where a.tenant = i.tenant and a.item_id = i.item_id and a.annotator = $3)
    order by created_at, item_id limit $4 for update skip locked
)
update dataset_items i set claimed_by = $3, claimed_until = $5 from free
where i.tenant = $1 and i.item_id = free.item_id returning i.*
"""
_ITEM: Final = """
select i.*, d.spec from dataset_items i join datasets d on d.tenant = i.tenant and d.name = i.dataset
where i.tenant = $1 and i.item_id = $2 for update of i
"""
_SAY: Final = """
insert into annotations (tenant, item_id, annotator, expected, signal_id, created_at, discards) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant, item_id, annotator) do update
set expected = excluded.expected, signal_id = excluded.signal_id, created_at = excluded.created_at, discards = excluded.discards
"""
_EXAMPLE: Final = """
with counted as (update datasets set version = version + 1 where tenant = $1 and name = $3 returning version)
insert into examples (tenant, example_id, dataset, item_id, part, body, expected, label, since_version, lineage, created_at)
select $1, $2, $3, $4, $5, $6, $7, $8, counted.version, $9, $10 from counted
on conflict (tenant, item_id) do nothing
"""
_DELETE: Final = """
with counted as (
    update datasets set version = version + 1 where tenant = $1 and name = $2 returning version
), gone as (
    update examples e set body = null, expected = null, label = '', until_version = counted.version from counted
    where e.tenant = $1 and e.dataset = $2 and e.example_id = any($3) and e.body is not null
    returning e.example_id, e.item_id
), items as (
    update dataset_items i set body = null from gone where i.tenant = $1 and i.item_id = gone.item_id
), said as (
    delete from annotations a using gone where a.tenant = $1 and a.item_id = gone.item_id
), answered as (
    update evaluation_results r set value = null from gone where r.tenant = $1 and r.example_id = gone.example_id
)
select count(*) from gone
"""
_OLD: Final = "select example_id from examples where tenant = $1 and dataset = $2 and created_at < $3 and body is not null limit 1000"
_DROP_OLD: Final = """
with old as (
    update dataset_items set body = null, status = 'discarded' where tenant = $1 and dataset = $2 and created_at < $3
    and status in ('pending', 'disputed') returning item_id
)
delete from annotations a using old where a.tenant = $1 and a.item_id = old.item_id
"""


class PostgresAnnotationStore:
    def __init__(self, pool: asyncpg.Pool, ids: Ids) -> None:
        self._pool = pool
        self._ids = ids

    async def claim(self, tenant: str, name: DatasetName, annotator: str, limit: int, until: datetime) -> Sequence[Item]:
        async with writing(self._pool, tenant) as connection:
            rows = await connection.fetch(_CLAIM, tenant, name, annotator, limit, until)
        return [_item(row) for row in sorted(rows, key=lambda row: (row["created_at"], row["item_id"]))]

    async def annotate(self, tenant: str, item_id: ItemId, annotation: Annotation, signal_id: str | None) -> Outcome:
        """A disputed item may be settled by whoever speaks again, or comes anew."""
        expected = dump_json(annotation.expected)
        async with keeping_both(self._pool, tenant) as connection:
            row = await self._open(connection, tenant, item_id, annotation)
            if row["status"] == "agreed":  # the same again
                return await self._agreed(connection, row)
            if row["status"] == "discarded":
                return Outcome(status="discarded")
            said_now = (annotation.annotator, expected, signal_id, annotation.at, annotation.discards)
            await connection.execute(_SAY, tenant, item_id, *said_now)
            said = [_annotation(one) for one in await connection.fetch(_ALL_SAID, tenant, item_id)]
            spec = spec_from_row(row["spec"])
            match consensus(spec, said):
                case Agreed() as agreed:
                    await self._make(connection, row, spec, agreed)
                    return await self._agreed(connection, row)
                case Discarded(annotators=annotators):
                    await connection.execute(_SET_STATUS, tenant, item_id, "discarded")
                    told = deeds.item_discarded(tenant, DatasetName(row["dataset"]), item_id, annotators, annotation.annotator)
                    await audit.append(connection, [told])
                    return Outcome(status="discarded")
                case Pending():
                    await connection.execute(_SET_STATUS, tenant, item_id, "pending")
                    return Outcome(status="pending")
                case Disputed():
                    await connection.execute(_SET_STATUS, tenant, item_id, "disputed")
                    return Outcome(status="disputed")

    async def disputed(self, tenant: str, name: DatasetName) -> Sequence[Item]:
        query = (
            "select * from dataset_items where tenant = $1 and dataset = $2 and status = 'disputed' order by created_at, item_id limit 100"
        )
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query, tenant, name)
            ids = [row["item_id"] for row in rows]
            said = await connection.fetch(
                "select * from annotations where tenant = $1 and item_id = any($2) order by created_at", tenant, ids
            )
        return [
            replace(_item(row), annotations=tuple(_annotation(one) for one in said if one["item_id"] == row["item_id"])) for row in rows
        ]

    async def delete(self, tenant: str, name: DatasetName, example_id: ExampleId, told: AuditRecord) -> bool:
        async with keeping_both(self._pool, tenant) as connection:
            held = await connection.fetchval(_HELD, tenant, name, example_id)
            if not held or not await connection.fetchval(_DELETE, tenant, name, [example_id]):
                return False
            await audit.append(connection, [told])
        return True

    async def expire(self, tenant: str, name: DatasetName, before: datetime) -> int:
        async with keeping_both(self._pool, tenant) as connection:
            await connection.execute(_DROP_OLD, tenant, name, before)
            old = [row["example_id"] for row in await connection.fetch(_OLD, tenant, name, before)]
            return int(await connection.fetchval(_DELETE, tenant, name, old)) if old else 0

    async def _open(self, connection: asyncpg.Connection, tenant: str, item_id: ItemId, annotation: Annotation) -> asyncpg.Record:
        row = await connection.fetchrow(_ITEM, tenant, item_id)
        if row is None:
            raise _no_item(item_id)
        if row["status"] in {"pending", "disputed"}:
            return row
        said = await connection.fetchrow(
            "select expected, discards from annotations where tenant = $1 and item_id = $2 and annotator = $3",
            tenant,
            item_id,
            annotation.annotator,
        )
        if said is not None and (said["expected"], said["discards"]) == (dump_json(annotation.expected), annotation.discards):
            return row
        remedy = "delete its example instead" if annotation.discards and row["status"] == "agreed" else "claim another item"
        raise ItemClosed(f"item {item_id} is {row['status']}", remedy=remedy)

    async def _make(self, connection: asyncpg.Connection, row: asyncpg.Record, spec: DatasetSpec, agreed: Agreed) -> None:
        signals = await connection.fetch(_SIGNALS_OF, row["tenant"], row["item_id"])
        lineage = replace(
            lineage_from_row(row["lineage"]), annotators=agreed.annotators, signal_ids=tuple(one["signal_id"] for one in signals)
        )
        await connection.execute(
            _EXAMPLE,
            row["tenant"],
            self._ids.new("ex"),
            row["dataset"],
            row["item_id"],
            row["part"],
            row["body"],
            dump_json(agreed.expected),
            label_of(agreed.expected, spec.label_field),
            lineage_to_row(lineage),
            row["created_at"],
        )
        await connection.execute(_SET_STATUS, row["tenant"], row["item_id"], "agreed")

    async def _agreed(self, connection: asyncpg.Connection, row: asyncpg.Record) -> Outcome:
        found = await connection.fetchrow(_MADE, row["tenant"], row["item_id"])
        if found is None or found["expected"] is None:
            return Outcome(status="agreed", example_id=found["example_id"] if found is not None else "")
        expected = parse_json(found["expected"], field="expected")
        return Outcome(status="agreed", example_id=found["example_id"], item=_item(row), expected=expected)


_MADE: Final = "select example_id, expected from examples where tenant = $1 and item_id = $2"
_SET_STATUS: Final = """
update dataset_items set status = $3, claimed_by = null, claimed_until = null where tenant = $1 and item_id = $2
"""
_ALL_SAID: Final = "select * from annotations where tenant = $1 and item_id = $2 order by created_at, annotator"
_SIGNALS_OF: Final = "select signal_id from annotations where tenant = $1 and item_id = $2 and signal_id is not null order by created_at"
_HELD: Final = "select exists (select from examples where tenant = $1 and dataset = $2 and example_id = $3 and body is not null)"


def _item(row: asyncpg.Record) -> Item:
    return Item(
        id=ItemId(row["item_id"]),
        tenant=row["tenant"],
        dataset=DatasetName(row["dataset"]),
        body=body_from_row(row["body"]),
        lineage=lineage_from_row(row["lineage"]),
        status=row["status"],
        claimed_until=row["claimed_until"],
    )


def _annotation(row: asyncpg.Record) -> Annotation:
    expected = parse_json(row["expected"], field="expected")
    return Annotation(annotator=row["annotator"], expected=expected, at=row["created_at"], discards=row["discards"])


def _no_item(item_id: ItemId) -> ItemNotFound:
    return ItemNotFound(f"no item {item_id}", remedy="take the id from the queue")
