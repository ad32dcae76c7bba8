"""The fakes keep the promises of the ports."""

from collections.abc import Awaitable, Callable

import pytest
from feedback_behaviour import OperationStoreBehaviour, SignalStoreBehaviour
from feedback_fakes import FakeOperationStore, FakeSignalStore, FakeTraceStore
from feedback_trace_behaviour import TraceStoreBehaviour


class TestFakeOperationStore(OperationStoreBehaviour):
    @pytest.fixture
    def store(self) -> FakeOperationStore:
        return FakeOperationStore()


class TestFakeTraceStore(TraceStoreBehaviour):
    @pytest.fixture
    def operations(self) -> FakeOperationStore:
        return FakeOperationStore()

    @pytest.fixture
    def store(self, operations: FakeOperationStore) -> FakeTraceStore:
        return FakeTraceStore(operations)


class TestFakeSignalStore(SignalStoreBehaviour):
    @pytest.fixture
    def store(self) -> FakeSignalStore:
        return FakeSignalStore()

    @pytest.fixture
    def announced(self, store: FakeSignalStore) -> Callable[[], Awaitable[list[str]]]:
        async def ids() -> list[str]:
            return [one.id for one in store.announced]

        return ids
