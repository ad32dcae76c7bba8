"""The README says what is so."""

import re
from pathlib import Path

import pytest
from plimsoll_model_router import errors
from plimsoll_model_router.adapters.postgres_ledger import COMPLETED
from plimsoll_model_router.adapters.providers.rehearsal import FAULTS
from plimsoll_model_router.adapters.registry_watch import MOVED


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_subject_reason_and_fault(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {COMPLETED, MOVED}
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "reason")}
    for name in {*(reason for reason in reasons if isinstance(reason, str)), *FAULTS} - {
        "INVALID",
        "NOT_FOUND",
        "CONFLICT",
        "DENIED",
        "UNAVAILABLE",
    }:
        assert f"`{name}`" in readme
