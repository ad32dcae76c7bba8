"""The README says what is so."""

import re
from pathlib import Path

import pytest
from plimsoll_tool_dispatcher import errors
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.transport.codec import CALL_COMPLETED, CALL_ESCALATED

MIGRATIONS = Path(errors.__file__).parent / "adapters" / "migrations"


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_subject(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {CALL_COMPLETED, CALL_ESCALATED}


def test_it_lists_every_reason(readme: str) -> None:
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__}
    assert all(f"`{reason}`" in readme for reason in reasons)


def test_it_lists_every_table(readme: str) -> None:
    tables = {name for file in MIGRATIONS.glob("*.sql") for name in re.findall(r"create table (\w+)", file.read_text())}
    assert all(f"`{table}`" in readme for table in tables)


def test_its_effect_table_has_every_class(readme: str) -> None:
    assert f"| event | {' | '.join(EffectClass)} |" in readme
