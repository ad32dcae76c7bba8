"""Keys are believed for five seconds and no longer; places are bounded and given back."""

import pytest
from gateway_behaviour import TOLD, KeyStoreBehaviour
from gateway_fakes import FakeKeyStore, key_record
from plimsoll_gateway.adapters.oidc import NoTokens
from plimsoll_gateway.domain.principal import key_digest, key_text
from plimsoll_gateway.errors import NoKey, RevokedKey, TooManyInFlight, UnknownKey
from plimsoll_gateway.service import access as access_module
from plimsoll_gateway.service.access import Access, Bound
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.clock import FakeClock

KEY = key_text("key_1", "s" * 43)
SHOWN = f"Bearer {KEY}"


class TestFakeKeyStore(KeyStoreBehaviour):
    @pytest.fixture
    def store(self) -> FakeKeyStore:
        return FakeKeyStore()


@pytest.fixture
async def store(clock: FakeClock) -> FakeKeyStore:
    store = FakeKeyStore()
    await store.add(key_record("key_1", key_digest(KEY), clock.now()), TOLD)
    return store


async def test_a_good_key_is_its_principal(store: FakeKeyStore, clock: FakeClock):
    principal = await Access(store, NoTokens(), clock).admit(SHOWN, "GetRun")
    assert (principal.tenant, principal.actor) == ("acme", "console (key_1)")


async def test_a_key_is_looked_up_once_in_five_seconds(store: FakeKeyStore, clock: FakeClock):
    access = Access(store, NoTokens(), clock)
    for _ in range(3):
        await access.admit(SHOWN, "GetRun")
    assert store.lookups == 1
    clock.advance(5.0)
    await access.admit(SHOWN, "GetRun")
    assert store.lookups == 2


async def test_a_revoked_key_is_refused_within_five_seconds(store: FakeKeyStore, clock: FakeClock):
    access = Access(store, NoTokens(), clock)
    await access.admit(SHOWN, "GetRun")
    await store.revoke("acme", "key_1", clock.now(), TOLD)
    clock.advance(4.9)
    await access.admit(SHOWN, "GetRun")
    clock.advance(0.1)
    with pytest.raises(RevokedKey):
        await access.admit(SHOWN, "GetRun")


async def test_a_key_made_after_somebody_guessed_its_id_works_within_five_seconds(store: FakeKeyStore, clock: FakeClock):
    access, later = Access(store, NoTokens(), clock), key_text("key_2", "t" * 43)
    with pytest.raises(UnknownKey):
        await access.admit(f"Bearer {later}", "GetRun")
    await store.add(key_record("key_2", key_digest(later), clock.now()), TOLD)
    clock.advance(5.0)
    assert (await access.admit(f"Bearer {later}", "GetRun")).key_id == "key_2"


async def test_a_known_id_with_another_secret_costs_no_look_up(store: FakeKeyStore, clock: FakeClock):
    access = Access(store, NoTokens(), clock)
    await access.admit(SHOWN, "GetRun")
    for letter in "abc":
        with pytest.raises(UnknownKey):
            await access.admit(f"Bearer {key_text('key_1', letter * 43)}", "GetRun")
    assert store.lookups == 1


async def test_made_up_ids_never_drive_out_a_real_key(store: FakeKeyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access_module, "_KEPT_MOST", 3)
    access = Access(store, NoTokens(), clock)
    await access.admit(SHOWN, "GetRun")
    for number in range(10):
        with pytest.raises(UnknownKey):
            await access.admit(f"Bearer {key_text(f'key_x{number}', 's' * 43)}", "GetRun")
    before = store.lookups
    await access.admit(SHOWN, "GetRun")
    assert store.lookups == before


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", KEY, f"Token {KEY}"])
async def test_a_request_without_a_key_is_told_how_to_send_one(store: FakeKeyStore, clock: FakeClock, header: str):
    with pytest.raises(NoKey) as caught:
        await Access(store, NoTokens(), clock).admit(header, "GetRun")
    assert "Authorization: Bearer" in caught.value.remedy


async def test_a_store_that_is_away_is_no_refusal_of_the_key(clock: FakeClock):
    class Away(FakeKeyStore):
        async def find(self, key_id: str) -> None:
            raise Unavailable(reason="DATABASE_UNAVAILABLE")

    with pytest.raises(Unavailable):
        await Access(Away(), NoTokens(), clock).admit(SHOWN, "GetRun")


def test_a_bound_refuses_what_does_not_fit_and_takes_what_was_given_back():
    bound = Bound(3, "full", "try again")
    with bound.taken(2):
        with pytest.raises(TooManyInFlight, match="full") as caught:
            bound.take(2)
        assert caught.value.retry_after_s == 1.0
        bound.take(1)
        bound.give_back(1)
    bound.take(3)
