"""The fake keeps the promises that the tests of the service rely on."""

import pytest
from memory_fake_threads import FakeThreads
from memory_thread_behaviour import ThreadStoreBehaviour
from plimsoll_testkit.ids import FakeIds


class TestFakeThreads(ThreadStoreBehaviour):
    @pytest.fixture
    def threads(self, ids: FakeIds) -> FakeThreads:
        return FakeThreads(ids=ids)
