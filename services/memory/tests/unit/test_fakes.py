"""The fakes keep the promises of the ports."""

import pytest
from memory_behaviour import LibraryBehaviour, PassageIndexBehaviour
from memory_fakes import FakeLibrary, FakeUploads
from memory_upload_behaviour import UploadStoreBehaviour


class TestFakeLibrary(LibraryBehaviour):
    @pytest.fixture
    def shelf(self) -> FakeLibrary:
        return FakeLibrary()


class TestFakePassageIndex(PassageIndexBehaviour):
    @pytest.fixture
    def shelf(self) -> FakeLibrary:
        return FakeLibrary()


class TestFakeUploads(UploadStoreBehaviour):
    @pytest.fixture
    def uploads(self) -> FakeUploads:
        return FakeUploads()
