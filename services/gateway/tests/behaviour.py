"""What every key store promises, checked on the fake and on Postgres alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gateway_fakes import key_record
from plimsoll_gateway.domain.repeat import RequestKey
from plimsoll_gateway.ports import Answered, Begun, KeyStore, OtherRequest, RequestLedger, UnderWay
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.errors import Conflict

_T0 = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = AuditRecord(tenant="acme", actor="ann", action="key.created", subject="key:key_1")


class KeyStoreBehaviour:
    """Subclasses give a fixture `store`."""

    async def test_a_key_is_found_by_its_id_as_it_was_added(self, store: KeyStore):
        record = key_record("key_1", bytes(range(32)), _T0, expires_at=_T0 + timedelta(days=1))
        await store.add(record, TOLD)
        assert await store.find("key_1") == record
        assert await store.find("key_2") is None

    async def test_an_id_is_taken_once(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        with pytest.raises(Conflict):
            await store.add(key_record("key_1", bytes(32), _T0), TOLD)

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
        await store.add(key_record("key_2", bytes(32), _T0 + timedelta(hours=1)), TOLD)
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        await store.add(key_record("key_3", bytes(32), _T0, tenant="other"), TOLD)
        assert [record.key_id for record in await store.of_tenant("acme")] == ["key_1", "key_2"]

    async def test_a_revoked_key_keeps_the_time_of_its_first_revocation(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        first = await store.revoke("acme", "key_1", _T0 + timedelta(hours=1), TOLD)
        again = await store.revoke("acme", "key_1", _T0 + timedelta(hours=2), TOLD)
        assert first is not None
        assert first == again == await store.find("key_1")
        assert first.revoked_at == _T0 + timedelta(hours=1)

    async def test_another_tenants_key_cannot_be_revoked(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        assert await store.revoke("other", "key_1", _T0, TOLD) is None
        found = await store.find("key_1")
        assert found is not None
        assert found.revoked_at is None

    async def test_a_successor_is_made_and_the_old_key_ends_when_told_or_before(self, store: KeyStore):
        old = key_record("key_1", bytes(32), _T0, expires_at=_T0 + timedelta(days=9))
        new = key_record("key_2", bytes(32), _T0)
        await store.add(old, TOLD)
        replaced = await store.replace(old, _T0 + timedelta(days=1), new, TOLD)
        assert replaced is not None
        assert replaced.expires_at == _T0 + timedelta(days=1)
        assert await store.of_id("acme", "key_2") == new
        again = await store.replace(old, _T0 + timedelta(days=5), key_record("key_3", bytes(32), _T0), TOLD)
        assert again is not None
        assert again.expires_at == _T0 + timedelta(days=1)

    async def test_a_revoked_key_has_no_successor(self, store: KeyStore):
        old = key_record("key_1", bytes(32), _T0)
        await store.add(old, TOLD)
        await store.revoke("acme", "key_1", _T0, TOLD)
        assert await store.replace(old, _T0, key_record("key_2", bytes(32), _T0), TOLD) is None
        assert await store.of_id("acme", "key_2") is None

    async def test_another_tenants_key_is_not_found(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        assert await store.of_id("other", "key_1") is None

    async def test_what_was_done_is_told_once_newest_first(self, store: KeyStore):
        await store.add(key_record("key_1", bytes(32), _T0), TOLD)
        for _ in range(2):
            await store.revoke("acme", "key_1", _T0, replace(TOLD, action="key.revoked"))
        entries = await store.events("acme", 0, 10)
        assert [(one.seq, one.action) for one in entries] == [(2, "key.revoked"), (1, "key.created")]
        assert [one.seq for one in await store.events("acme", 2, 10)] == [1]
        assert await store.events("other", 0, 10) == []


ASKED = RequestKey(tenant="acme", key="k", fingerprint=bytes(32))
OTHER = RequestKey(tenant="acme", key="k", fingerprint=bytes(range(32)))
OTHER_TENANT = RequestKey(tenant="other", key="k", fingerprint=bytes(range(32)))


class RequestLedgerBehaviour:
    """Subclasses give a fixture `ledger`."""

    async def test_a_key_is_taken_once_and_its_answer_is_kept(self, ledger: RequestLedger):
        assert await ledger.begin(ASKED, "a1", 60) == Begun()
        assert await ledger.begin(ASKED, "a2", 60) == UnderWay()
        await ledger.answer(ASKED, "a1", b"done")
        assert await ledger.begin(ASKED, "a3", 60) == Answered(b"done")

    async def test_a_key_belongs_to_one_request_of_one_tenant(self, ledger: RequestLedger):
        await ledger.begin(ASKED, "a1", 60)
        assert await ledger.begin(OTHER, "a2", 60) == OtherRequest()
        assert await ledger.begin(OTHER_TENANT, "a3", 60) == Begun()

    async def test_a_key_that_was_let_go_is_free_for_any_request(self, ledger: RequestLedger):
        await ledger.begin(ASKED, "a1", 60)
        await ledger.let_go(ASKED, "a2")
        assert await ledger.begin(ASKED, "a3", 60) == UnderWay()
        await ledger.let_go(ASKED, "a1")
        assert await ledger.begin(OTHER, "a4", 60) == Begun()

    async def test_an_attempt_that_died_loses_the_key_to_the_same_request_only(self, ledger: RequestLedger):
        await ledger.begin(ASKED, "a1", -1)
        assert await ledger.begin(OTHER, "a2", 60) == OtherRequest()
        assert await ledger.begin(ASKED, "a3", 60) == Begun()
        await ledger.hold(ASKED, "a1", 60)
        await ledger.answer(ASKED, "a1", b"late")
        assert await ledger.begin(ASKED, "a4", 60) == UnderWay()

    async def test_an_attempt_that_holds_on_keeps_the_key(self, ledger: RequestLedger):
        await ledger.begin(ASKED, "a1", -1)
        await ledger.hold(ASKED, "a1", 60)
        assert await ledger.begin(ASKED, "a2", 60) == UnderWay()

    async def test_an_answer_is_never_let_go(self, ledger: RequestLedger):
        await ledger.begin(ASKED, "a1", 60)
        await ledger.answer(ASKED, "a1", b"done")
        await ledger.let_go(ASKED, "a1")
        assert await ledger.begin(ASKED, "a2", 60) == Answered(b"done")
