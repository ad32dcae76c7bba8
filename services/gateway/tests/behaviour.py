"""What every key store promises, checked on the fake and on Postgres alike."""

from datetime import UTC, datetime, timedelta

import pytest
from gateway_fakes import key_record
from plimsoll_gateway.ports import KeyStore
from plimsoll_runtime.errors import Conflict

_T0 = datetime(2026, 1, 1, tzinfo=UTC)


class KeyStoreBehaviour:
    """Subclasses give a fixture `store`."""

    async def test_a_key_is_found_by_its_id_as_it_was_added(self, store: KeyStore):
        record = key_record("key_1", bytes(range(32)), _T0, expires_at=_T0 + timedelta(days=1))
        await store.add(record)
        assert await store.find("key_1") == record
        assert await store.find("key_2") is None

    async def test_an_id_is_taken_once(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0))
        with pytest.raises(Conflict):
            await store.add(key_record("key_1", bytes(32), _T0))

    async def test_the_first_key_is_added_only_where_there_is_none(self, store: KeyStore):
        written: list[str] = []
        assert await store.add_first(key_record("key_1", bytes(32), _T0), lambda: written.append("1")) is True
        assert await store.add_first(key_record("key_2", bytes(32), _T0), lambda: written.append("2")) is False
        assert written == ["1"]
        assert await store.find("key_2") is None

    async def test_the_first_key_does_not_count_when_it_could_not_be_handed_over(self, store: KeyStore):
        def fail() -> None:
            raise Conflict("the file is not writable")

        with pytest.raises(Conflict, match="not writable"):
            await store.add_first(key_record("key_1", bytes(32), _T0), fail)
        assert await store.find("key_1") is None

    async def test_a_tenant_sees_its_own_keys_oldest_first(self, store: KeyStore):
        await store.add(key_record("key_2", bytes(32), _T0 + timedelta(hours=1)))
        await store.add(key_record("key_1", bytes(32), _T0))
        await store.add(key_record("key_3", bytes(32), _T0, tenant="other"))
        assert [record.key_id for record in await store.of_tenant("acme")] == ["key_1", "key_2"]

    async def test_a_revoked_key_keeps_the_time_of_its_first_revocation(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0))
        first = await store.revoke("acme", "key_1", _T0 + timedelta(hours=1))
        again = await store.revoke("acme", "key_1", _T0 + timedelta(hours=2))
        assert first is not None
        assert first == again == await store.find("key_1")
        assert first.revoked_at == _T0 + timedelta(hours=1)

    async def test_another_tenants_key_cannot_be_revoked(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0))
        assert await store.revoke("other", "key_1", _T0) is None
        found = await store.find("key_1")
        assert found is not None
        assert found.revoked_at is None
