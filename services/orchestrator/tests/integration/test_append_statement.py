"""The two forms of the statement that commits: they write the same."""

from dataclasses import replace

import msgspec
from orchestrator_fakes import TENANT, open_bench
from orchestrator_stores import GRAPH, SOURCE, STEP, appending
from plimsoll_orchestrator.domain.journal import StepFinished
from plimsoll_orchestrator.ports import submission
from plimsoll_runtime.usage import Usage

_ROW = "select to_jsonb(r) - '{run_id,created_at,started_at,wake_at}'::text[] from runs r where run_id = $1"
_LEASED = "select wake_at > now() from runs where run_id = $1"
_JOURNAL = "select array_agg(to_jsonb(j) - '{run_id,at}'::text[] order by seq) from journal j where run_id = $1"
_NOTED = "select array_agg((to_jsonb(o) - '{position,run_ids}'::text[]) order by position) from journal_outbox o where run_ids = array[$1]"


async def test_a_run_that_goes_on_is_written_alone_as_it_is_in_a_batch(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn) as bench:
        await bench.agents.register(TENANT, GRAPH, SOURCE)
        for run_id in ("alone", "in a batch"):
            await bench.runs.accept(submission(TENANT, run_id, GRAPH, {}))
        await bench.pool.execute("update runs set abandoned = '{w}', mail = 3")
        usage = Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4, cost_micros=5)
        for claimed in await bench.claims.claim("w", 2, {}):
            append = appending(
                claimed, STEP, StepFinished(node="a", node_kind="set", delta={"n": 1}, next="end", usage=usage, rehearsal=True)
            )
            append = replace(append, run=msgspec.structs.replace(append.run, node="b"))
            company = [replace(append, run_id="run_of_nobody")] if claimed.run_id == "in a batch" else []
            committed = await bench.claims.append([*company, append])
            assert committed.appended[claimed.run_id].mail == 3
        for question in (_ROW, _LEASED, _JOURNAL, _NOTED):
            alone, in_a_batch = [await bench.pool.fetchval(question, run_id) for run_id in ("alone", "in a batch")]
            assert alone
            assert alone == in_a_batch
        row = await bench.pool.fetchval(_ROW, "alone")
        assert [row[name] for name in ("seq", "node", "steps", "cost_micros", "abandoned")] == [3, "b", 1, 5, []]
