"""The README says what is so."""

import re
from pathlib import Path

import pytest
from plimsoll.memory.v1 import memory_service_pb2
from plimsoll_memory import errors
from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.reader import ReaderCrashed
from plimsoll_memory.config import Settings
from plimsoll_memory.domain.media import MediaType
from plimsoll_memory.transport.codec import SEARCH_COMPLETED
from plimsoll_runtime.settings import variables

PREFIX = "PLIMSOLL_MEMORY_"
OWN = tuple(PREFIX + group for group in ("READER_", "PASSAGE_", "LANGUAGE"))


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_setting_of_its_own_or_that_must_be_set_with_its_default(readme: str) -> None:
    rows = dict(re.findall(r"^\| `(PLIMSOLL_MEMORY_\w+)` \| ([^|]+) \|", readme, re.MULTILINE))
    existing = {one.name: one for one in variables(Settings, PREFIX)}
    expected = {name: one.default or "must be set" for name, one in existing.items() if one.required or name.startswith(OWN)}
    assert rows == expected
    assert set(re.findall(r"`(PLIMSOLL_MEMORY_\w+)", readme)) <= set(existing)


def test_it_lists_every_rpc(readme: str) -> None:
    methods = memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"].methods
    assert set(re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", readme, re.MULTILINE)) == {method.name for method in methods}


def test_it_lists_every_subject_and_media_type(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {SEARCH_COMPLETED}
    assert all(f"`{media_type.value}`" in readme for media_type in MediaType)


def test_it_lists_every_reason_and_the_embedder(readme: str) -> None:
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__}
    for name in {*reasons, ReaderCrashed.reason, HashingEmbedder.name}:
        assert f"`{name}`" in readme
