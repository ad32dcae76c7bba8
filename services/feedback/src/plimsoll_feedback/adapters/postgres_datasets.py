"""Datasets in Postgres: how they are set, and what they selected."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord

from plimsoll_feedback.adapters.learning_rows import body_to_row, lineage_to_row, spec_from_row, spec_to_row
from plimsoll_feedback.adapters.postgres_parts import keeping_both
from plimsoll_feedback.adapters.postgres_session import ingesting, reading, writing
from plimsoll_feedback.domain.learning.datasets import Candidate, Counts, Dataset, DatasetName, DatasetSpec, ItemId
from plimsoll_feedback.domain.learning.likeness import is_near
from plimsoll_feedback.errors import DatasetNotFound, DatasetTaken

# A new dataset looks back a day: what went wrong lately is why somebody made it.
_PUT: Final = """
insert into datasets (tenant, name, spec, prompt, scanned_to, created_at) values ($1, $2, $3, $4, $5::timestamptz - interval '1 day', $5)
on conflict (tenant, name) do update set spec = excluded.spec where datasets.prompt = excluded.prompt
returning name
"""
_COUNTED: Final = """
select datasets.*,
    (select count(*) from examples e where e.tenant = datasets.tenant and e.dataset = datasets.name
        and e.until_version is null and e.part = 'training') as training,
    (select count(*) from examples e where e.tenant = datasets.tenant and e.dataset = datasets.name
        and e.until_version is null and e.part = 'held_out') as held_out,
    (select count(*) from dataset_items i where i.tenant = datasets.tenant and i.dataset = datasets.name and i.status = 'pending') as pending,
    (select count(*) from dataset_items i where i.tenant = datasets.tenant and i.dataset = datasets.name and i.status = 'disputed') as disputed
from datasets where tenant = $1
"""
_ALIKE: Final = """
select shingles from dataset_items
where tenant = $1 and dataset = $2 and shingles && $3::bigint[] and status not in ('duplicate', 'lost')
"""
_SAME: Final = """
select exists (select from dataset_items where tenant = $1 and dataset = $2 and content_digest = $3 and status not in ('duplicate', 'lost'))
"""
_ADD: Final = """
insert into dataset_items (
    tenant, item_id, dataset, operation_id, part, status, body, lineage, content_digest, shingles, created_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (tenant, dataset, operation_id) do nothing returning item_id
"""


class PostgresDatasetStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put(self, tenant: str, spec: DatasetSpec, at: datetime, told: AuditRecord) -> Dataset:
        async with writing(self._pool, tenant) as connection:
            name = await connection.fetchval(_PUT, tenant, spec.name, spec_to_row(spec), spec.prompt, at)
            if name is None:
                raise DatasetTaken(f"dataset {spec.name} selects from another prompt", remedy="give the new dataset another name")
            await audit.append(connection, [told])
        return await self.get(tenant, spec.name)

    async def get(self, tenant: str, name: DatasetName) -> Dataset:
        async with keeping_both(self._pool, tenant) as connection:
            row = await connection.fetchrow(f"{_COUNTED} and name = $2", tenant, name)
        if row is None:
            raise DatasetNotFound(f"no dataset {name}", remedy="list the datasets, or make it")
        return _dataset(row)

    async def list(self, tenant: str) -> Sequence[Dataset]:
        async with keeping_both(self._pool, tenant) as connection:
            rows = await connection.fetch(f"{_COUNTED} order by name", tenant)
        return [_dataset(row) for row in rows]

    async def everywhere(self) -> Sequence[tuple[str, DatasetName]]:
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch("select tenant, name from datasets order by tenant, name")
        return [(row["tenant"], DatasetName(row["name"])) for row in rows]

    async def scanned_to(self, tenant: str, name: DatasetName) -> datetime:
        async with reading(self._pool, tenant) as connection:
            found: datetime | None = await connection.fetchval(
                "select scanned_to from datasets where tenant = $1 and name = $2", tenant, name
            )
        if found is None:
            raise DatasetNotFound(f"no dataset {name}", remedy="list the datasets, or make it")
        return found

    async def known(self, tenant: str, name: DatasetName, operation_ids: Sequence[str]) -> dict[str, ItemId]:
        query = "select operation_id, item_id from dataset_items where tenant = $1 and dataset = $2 and operation_id = any($3)"
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query, tenant, name, list(operation_ids))
        return {row["operation_id"]: ItemId(row["item_id"]) for row in rows}

    async def add(self, candidates: Sequence[Candidate], lost: Sequence[Candidate]) -> Sequence[ItemId]:
        """One dataset's. The dataset's row is locked, so that of two replicas one sees what the other took."""
        if not candidates and not lost:
            return []
        first = (*candidates, *lost)[0]
        taken: list[ItemId] = []
        async with writing(self._pool, first.tenant) as connection:
            await connection.execute("select from datasets where tenant = $1 and name = $2 for update", first.tenant, first.dataset)
            for one in candidates:
                is_new = not await self._says_nothing_new(connection, one)
                if await self._insert(connection, one, "pending" if is_new else "duplicate") and is_new:
                    taken.append(one.id)
            for one in lost:
                await self._insert(connection, one, "lost")
        return taken

    async def scanned(self, tenant: str, name: DatasetName, to: datetime) -> None:
        query = "update datasets set scanned_to = greatest(scanned_to, $3) where tenant = $1 and name = $2"
        async with writing(self._pool, tenant) as connection:
            await connection.execute(query, tenant, name, to)

    async def _says_nothing_new(self, connection: asyncpg.Connection, one: Candidate) -> bool:
        if await connection.fetchval(_SAME, one.tenant, one.dataset, one.content_digest):
            return True
        rows = await connection.fetch(_ALIKE, one.tenant, one.dataset, list(one.shingles))
        return is_near(one.shingles, [frozenset(row["shingles"]) for row in rows])

    async def _insert(self, connection: asyncpg.Connection, one: Candidate, status: str) -> bool:
        body = body_to_row(one.body) if status == "pending" else None
        lineage, shingles = lineage_to_row(one.lineage), sorted(one.shingles)
        row = (one.tenant, one.id, one.dataset, one.lineage.operation_id, one.part.value, status, body, lineage)
        return await connection.fetchval(_ADD, *row, one.content_digest, shingles, one.created_at) is not None


def _dataset(row: asyncpg.Record) -> Dataset:
    counts = Counts(
        version=row["version"], training=row["training"], held_out=row["held_out"], pending=row["pending"], disputed=row["disputed"]
    )
    return Dataset(spec=spec_from_row(row["spec"]), created_at=row["created_at"], counts=counts)
