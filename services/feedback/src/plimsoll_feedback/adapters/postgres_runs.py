"""Rows of runs in Postgres, brought up to date by each batch of events."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from plimsoll_feedback.domain.trace import Glimpse

LEXEMES_CAP: Final = 2000
"""Words beyond these of a run are not searchable: its row stays small, however long the run is."""

# A known run is only read when a batch shows nothing new of it: locking it again for each of its steps would make writers of the same
# run wait for each other. The earliest start wins, because steps may arrive before the entry that started the run; the end wins for good.
_UPSERT: Final = f"""
with new as (
    select tenant, run_id, agent, agent_version, started_at, journal, parent_run_id, thread_id, string_to_array(categories, ',') as categories,
        strip(to_tsvector('simple', words)) as search, status, finished_at, duration_s, category, reason, steps, input_tokens, output_tokens,
        cost_micros
    from unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::boolean[], $7::text[], $8::text[], $9::text[], $10::text[],
        $11::text[], $12::timestamptz[], $13::double precision[], $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[],
        $19::bigint[]
    ) as new (
        tenant, run_id, agent, agent_version, started_at, journal, parent_run_id, thread_id, categories, words, status, finished_at, duration_s,
        category, reason, steps, input_tokens, output_tokens, cost_micros
    )
), telling as (
    select new.* from new left join runs using (tenant, run_id)
    where runs.run_id is null or runs.started_at > new.started_at or (new.journal and not runs.journal)
        or (new.status <> 'running' and runs.status = 'running')
        or new.parent_run_id <> runs.parent_run_id and new.parent_run_id <> '' or new.thread_id <> runs.thread_id and new.thread_id <> ''
        or not runs.categories @> new.categories
        or length(runs.search) < {LEXEMES_CAP} and not tsvector_to_array(runs.search) @> tsvector_to_array(new.search)
)
insert into runs as known (
    tenant, run_id, agent, agent_version, started_at, journal, parent_run_id, thread_id, categories, search, status, finished_at, duration_s,
    category, reason, steps, input_tokens, output_tokens, cost_micros
) select * from telling order by tenant, run_id
on conflict (tenant, run_id) do update set
    started_at = least(known.started_at, excluded.started_at),
    agent = case when excluded.journal and not known.journal then excluded.agent else known.agent end,
    agent_version = case when excluded.journal and not known.journal then excluded.agent_version else known.agent_version end,
    journal = known.journal or excluded.journal,
    parent_run_id = coalesce(nullif(known.parent_run_id, ''), excluded.parent_run_id),
    thread_id = coalesce(nullif(known.thread_id, ''), excluded.thread_id),
    categories = (
        select coalesce(array_agg(distinct one order by one), '{{}}') from unnest(known.categories || excluded.categories) as one
    ),
    search = case when length(known.search) < {LEXEMES_CAP} then known.search || excluded.search else known.search end,
    status = case when known.status = 'running' then excluded.status else known.status end,
    finished_at = coalesce(known.finished_at, excluded.finished_at),
    duration_s = coalesce(known.duration_s, excluded.duration_s),
    category = coalesce(known.category, excluded.category),
    reason = coalesce(known.reason, excluded.reason),
    steps = greatest(known.steps, excluded.steps),
    input_tokens = greatest(known.input_tokens, excluded.input_tokens),
    output_tokens = greatest(known.output_tokens, excluded.output_tokens),
    cost_micros = greatest(known.cost_micros, excluded.cost_micros)
"""

ADD_WORDS: Final = f"""
update runs set
    categories = (select coalesce(array_agg(distinct one order by one), '{{}}') from unnest(categories || $3::text[]) as one),
    search = case when length(search) < {LEXEMES_CAP} then search || strip(to_tsvector('simple', $4)) else search end
where tenant = $1 and run_id = $2
"""
"""Adds categories and words to one run: of signals, labels and tags."""


async def upsert_runs(connection: asyncpg.Connection, glimpses: Sequence[Glimpse]) -> None:
    """Add what a batch shows of runs. The glimpses come in the order of tenant and run."""
    if not glimpses:
        return
    finishes = [glimpse.finish for glimpse in glimpses]
    runs = [glimpse.run for glimpse in glimpses]
    await connection.execute(
        _UPSERT,
        [run.tenant for run in runs],
        [run.id for run in runs],
        [run.agent for run in runs],
        [run.agent_version for run in runs],
        [run.started_at for run in runs],
        [glimpse.journal for glimpse in glimpses],
        [run.parent_run_id for run in runs],
        [run.thread_id for run in runs],
        [",".join(glimpse.categories) for glimpse in glimpses],
        [glimpse.words for glimpse in glimpses],
        [finish.status.value if finish else "running" for finish in finishes],
        [finish.finished_at if finish else None for finish in finishes],
        [finish.duration_s if finish else None for finish in finishes],
        [finish.category.value if finish and finish.category else None for finish in finishes],
        [finish.reason if finish else None for finish in finishes],
        [finish.steps if finish else 0 for finish in finishes],
        [finish.usage.input_tokens if finish else 0 for finish in finishes],
        [finish.usage.output_tokens if finish else 0 for finish in finishes],
        [finish.usage.cost_micros if finish else 0 for finish in finishes],
    )
