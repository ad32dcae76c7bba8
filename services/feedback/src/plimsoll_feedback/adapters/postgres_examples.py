"""Examples, each part by its own reader: what holds one of them cannot reach the other part."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from plimsoll_feedback.adapters.learning_rows import example_from_row
from plimsoll_feedback.adapters.postgres_parts import reading_part
from plimsoll_feedback.domain.learning.datasets import DatasetName, Example
from plimsoll_feedback.domain.learning.parts import Part

_OF_VERSION: Final = "tenant = $1 and dataset = $2 and since_version <= $3 and (until_version is null or until_version > $3)"
_TRAINING: Final = f"select * from training_examples where {_OF_VERSION} and example_id > $4 order by example_id limit $5"
_HELD_OUT: Final = f"select * from held_out_examples where {_OF_VERSION} order by example_id"


class PostgresTrainingExamples:
    """What proposers and exports read."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, tenant: str, name: DatasetName, version: int, after: str, limit: int) -> Sequence[Example]:
        async with reading_part(self._pool, tenant, Part.TRAINING) as connection:
            rows = await connection.fetch(_TRAINING, tenant, name, version, after, limit)
        return [example_from_row(row) for row in rows]


class PostgresHeldOutExamples:
    """What evaluations ask."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, tenant: str, name: DatasetName, version: int) -> Sequence[Example]:
        async with reading_part(self._pool, tenant, Part.HELD_OUT) as connection:
            rows = await connection.fetch(_HELD_OUT, tenant, name, version)
        return [example_from_row(row) for row in rows]
