"""The README says what is so."""

import re
from pathlib import Path

import pytest
from plimsoll_memory import errors
from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.reader import ReaderCrashed
from plimsoll_memory.domain.media import MediaType
from plimsoll_memory.transport.codec import SEARCH_COMPLETED
from plimsoll_memory.transport.quality_codec import QUALITY_DRIFTED, QUALITY_MEASURED


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_subject_and_media_type(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {SEARCH_COMPLETED, QUALITY_MEASURED, QUALITY_DRIFTED}
    assert all(f"`{media_type.value}`" in readme for media_type in MediaType)


def test_it_lists_every_reason_and_the_embedder(readme: str) -> None:
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__}
    for name in {*reasons, ReaderCrashed.reason, HashingEmbedder.name}:
        assert f"`{name}`" in readme
