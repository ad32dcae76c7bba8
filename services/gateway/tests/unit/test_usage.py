"""Requests are counted by key, written together, and not lost when the database is away for a while."""

from collections.abc import Sequence
from datetime import date, datetime

from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.ports import KeyUsage
from plimsoll_gateway.service.usage import UsageCounts
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.clock import FakeClock

ANN = Principal(key_id="key_1", name="ann", tenant="acme", scopes=frozenset())


class Written:
    def __init__(self) -> None:
        self.rows: list[tuple[str, KeyUsage]] = []
        self.away = False

    async def add(self, at: datetime, counts: Sequence[tuple[str, KeyUsage]]) -> None:
        if self.away:
            raise Unavailable
        self.rows += counts

    async def of_tenant(self, tenant: str, since: date) -> Sequence[KeyUsage]:
        return [one for whose, one in self.rows if whose == tenant and one.day >= since]


async def test_what_is_asked_is_counted_by_key_and_survives_a_database_that_is_away(clock: FakeClock):
    store = Written()
    counts = UsageCounts(store, clock, logs.get("test"))
    counts.note(ANN, let_in=True)
    counts.note(ANN, let_in=False)
    store.away = True
    await counts.write()
    counts.note(ANN, let_in=True)
    store.away = False
    await counts.write()
    await counts.write()
    usage = KeyUsage(key_id="key_1", name="ann", day=clock.now().date(), requests=2, refused=1)
    assert store.rows == [("acme", usage)]
