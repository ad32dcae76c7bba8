"""Workers that tell of themselves, on the database's clock."""

from orchestrator_fakes import open_bench
from plimsoll_orchestrator.adapters.postgres_workers import PostgresWorkers


async def test_a_worker_shows_as_it_last_told_of_itself_until_it_is_silent(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn) as bench:
        workers = PostgresWorkers(bench.pool)
        await workers.beat("b", 500, 3, "0.1.0")
        await workers.beat("a", 500, 7, "0.1.0")
        await workers.beat("b", 500, 4, "0.1.1")
        seen = await workers.seen(30)
        assert [(one.name, one.slots, one.held, one.version) for one in seen] == [("a", 500, 7, "0.1.0"), ("b", 500, 4, "0.1.1")]
        await bench.pool.execute("update workers set seen_at = now() - interval '1 minute' where name = 'a'")
        assert [one.name for one in await workers.seen(30)] == ["b"]


async def test_a_worker_that_was_silent_for_a_day_is_forgotten(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn) as bench:
        workers = PostgresWorkers(bench.pool)
        await workers.beat("a", 1, 0, "")
        await bench.pool.execute("update workers set seen_at = now() - interval '25 hours'")
        await workers.beat("b", 1, 0, "")
        assert await bench.pool.fetchval("select count(*) from workers") == 1
