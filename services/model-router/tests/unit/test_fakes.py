"""The fakes keep the promises of the ports."""

import pytest
from model_router_behaviour import BudgetStoreBehaviour, CallLedgerBehaviour, RegistryStoreBehaviour
from model_router_fakes import FakeBudgetStore, FakeCallLedger, FakeRegistryStore
from plimsoll_testkit.clock import FakeClock


class TestFakeRegistryStore(RegistryStoreBehaviour):
    @pytest.fixture
    def store(self, clock: FakeClock) -> FakeRegistryStore:
        return FakeRegistryStore(clock)


class TestFakeBudgetStore(BudgetStoreBehaviour):
    @pytest.fixture
    def budgets(self, clock: FakeClock) -> FakeBudgetStore:
        return FakeBudgetStore(clock)


class TestFakeCallLedger(CallLedgerBehaviour):
    @pytest.fixture
    def budgets(self, clock: FakeClock) -> FakeBudgetStore:
        return FakeBudgetStore(clock)

    @pytest.fixture
    def ledger(self, clock: FakeClock, budgets: FakeBudgetStore) -> FakeCallLedger:
        return FakeCallLedger(clock, budgets)
