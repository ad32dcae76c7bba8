"""The first key is handed over or does not exist; a key's text is shown once."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from gateway_fakes import FakeKeyFile, FakeKeyStore
from plimsoll_gateway.adapters.key_file import OwnerOnlyKeyFile
from plimsoll_gateway.domain.principal import read_key
from plimsoll_gateway.domain.scopes import ROLES
from plimsoll_gateway.errors import KeyNotFound, KeyOver
from plimsoll_gateway.service.keys import KeyRequest, KeyRing
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.settings import InvalidSettings
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def store() -> FakeKeyStore:
    return FakeKeyStore()


@pytest.fixture
def ring(store: FakeKeyStore, clock: FakeClock, ids: FakeIds) -> KeyRing:
    return KeyRing(store, clock, ids, lambda: "s" * 43, logs.get("gateway-test"))


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_the_first_start_makes_a_key_with_every_scope_into_the_file(ring: KeyRing, store: FakeKeyStore):
    file = FakeKeyFile()
    await ring.bootstrap(file, "default")
    presented = read_key(file.text or "")
    assert presented is not None
    record = await store.find(presented.key_id)
    assert record is not None
    assert (record.digest, record.tenant, record.scopes, record.created_by) == (presented.digest, "default", ROLES["admin"], "bootstrap")


async def test_later_starts_leave_the_file_alone(ring: KeyRing, caplog: pytest.LogCaptureFixture):
    file = FakeKeyFile()
    await ring.bootstrap(file, "default")
    before = file.text
    with caplog.at_level(logging.INFO):
        await ring.bootstrap(file, "default")
    assert (file.text, events(caplog)) == (before, [])


async def test_a_file_that_cannot_be_written_leaves_no_key(ring: KeyRing, store: FakeKeyStore):
    with pytest.raises(InvalidSettings):
        await ring.bootstrap(FakeKeyFile(broken=InvalidSettings("read-only")), "default")
    assert await store.of_tenant("default") == []


async def test_a_crash_between_file_and_row_is_mended_by_the_next_start(ring: KeyRing, store: FakeKeyStore):
    file = FakeKeyFile("plk_000009_" + "x" * 43)
    await ring.bootstrap(file, "default")
    presented = read_key(file.text or "")
    assert presented is not None
    assert await store.find(presented.key_id) is not None


@pytest.mark.parametrize(
    ("text", "event"), [(None, "key.file_missing"), ("", "key.file_stale"), ("plk_000009_" + "x" * 43, "key.file_stale")]
)
async def test_a_file_that_is_gone_or_of_another_database_is_told(
    ring: KeyRing, caplog: pytest.LogCaptureFixture, text: str | None, event: str
):
    await ring.bootstrap(FakeKeyFile(), "default")
    with caplog.at_level(logging.WARNING):
        await ring.bootstrap(FakeKeyFile(text), "default")
    assert events(caplog) == [event]
    assert "keys create" in caplog.records[0].fields["remedy"]  # type: ignore[attr-defined]


async def test_a_revoked_key_in_the_file_is_told(ring: KeyRing, caplog: pytest.LogCaptureFixture):
    file = FakeKeyFile()
    await ring.bootstrap(file, "default")
    await ring.revoke("default", "key_000001")
    with caplog.at_level(logging.INFO):
        await ring.bootstrap(file, "default")
    assert events(caplog) == ["key.file_revoked"]


async def test_no_log_line_holds_a_key(ring: KeyRing, caplog: pytest.LogCaptureFixture):
    file = FakeKeyFile()
    with caplog.at_level(logging.DEBUG):
        await ring.bootstrap(file, "default")
    assert "s" * 43 not in str([vars(record) for record in caplog.records])


async def test_every_problem_of_a_key_that_cannot_be_comes_at_once(ring: KeyRing, clock: FakeClock):
    with pytest.raises(Invalid) as caught:
        await ring.create(KeyRequest(tenant="A B", name="é", scopes=ROLES["viewer"], expires_at=clock.now() - timedelta(seconds=1)))
    assert [problem.field for problem in caught.value.problems] == ["tenant", "name", "expires"]


async def test_a_key_that_does_not_exist_cannot_be_revoked(ring: KeyRing):
    with pytest.raises(KeyNotFound):
        await ring.revoke("default", "key_1")


def test_a_key_file_is_replaced_in_one_step_and_for_its_owner_only(tmp_path: Path):
    file = OwnerOnlyKeyFile(tmp_path / "key")
    assert file.read() is None
    file.write("plk_000001_" + "x" * 43)
    file.write("plk_000002_" + "y" * 43)
    assert file.read() == "plk_000002_" + "y" * 43
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("my notes")
    with pytest.raises(InvalidSettings, match="left as it is"):
        OwnerOnlyKeyFile(tmp_path / "notes.txt").write("plk_000001_" + "x" * 43)
    assert (tmp_path / "notes.txt").read_text() == "my notes"


@pytest.mark.parametrize("name", ["missing/key", "directory"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str):
    (tmp_path / "directory").mkdir()
    with pytest.raises(InvalidSettings, match="PLIMSOLL_GATEWAY_BOOTSTRAP_KEY_FILE"):
        OwnerOnlyKeyFile(tmp_path / name).write("plk_000001_" + "x" * 43)


async def test_a_rotated_key_works_on_for_the_overlap_beside_its_successor(ring: KeyRing, store: FakeKeyStore, clock: FakeClock):
    old = await ring.create(KeyRequest(tenant="acme", name="ci", scopes=ROLES["viewer"], expires_at=clock.now() + timedelta(days=90)))
    clock.advance(86400 * 10)
    rotated = await ring.rotate("acme", old.record.key_id, "ann (key_9)", timedelta(hours=1))
    new = rotated.new.record
    assert (new.name, new.scopes, new.replaces, new.created_by) == ("ci", ROLES["viewer"], old.record.key_id, "ann (key_9)")
    assert new.expires_at == clock.now() + timedelta(days=90)
    assert rotated.old.expires_at == clock.now() + timedelta(hours=1)
    told = (await ring.events("acme", 0, 10))[0]
    assert (told.action, told.actor, told.subject) == ("key.rotated", "ann (key_9)", f"key:{new.key_id}")


@pytest.mark.parametrize("hours", [-1, 24 * 31])
async def test_an_overlap_that_cannot_be_is_refused(ring: KeyRing, hours: int):
    old = await ring.create(KeyRequest(tenant="acme", name="ci", scopes=ROLES["viewer"]))
    with pytest.raises(Invalid, match="overlap"):
        await ring.rotate("acme", old.record.key_id, "ann", timedelta(hours=hours))


async def test_a_key_that_is_over_or_anothers_has_no_successor(ring: KeyRing, clock: FakeClock):
    revoked = await ring.create(KeyRequest(tenant="acme", name="ci", scopes=ROLES["viewer"]))
    await ring.revoke("acme", revoked.record.key_id)
    expired = await ring.create(KeyRequest(tenant="acme", name="ci", scopes=ROLES["viewer"], expires_at=clock.now() + timedelta(days=1)))
    clock.advance(86401)
    for key in (revoked, expired):
        with pytest.raises(KeyOver):
            await ring.rotate("acme", key.record.key_id, "ann")
    with pytest.raises(KeyNotFound):
        await ring.rotate("other", revoked.record.key_id, "ann")
