"""The fakes keep the promises of the ports."""

import pytest
from model_router_behaviour import CallLedgerBehaviour, PromptStoreBehaviour
from model_router_fakes import FakeCallLedger, FakePromptStore
from plimsoll_testkit.clock import FakeClock


class TestFakePromptStore(PromptStoreBehaviour):
    @pytest.fixture
    def store(self) -> FakePromptStore:
        return FakePromptStore()


class TestFakeCallLedger(CallLedgerBehaviour):
    @pytest.fixture
    def ledger(self, clock: FakeClock) -> FakeCallLedger:
        return FakeCallLedger(clock)
