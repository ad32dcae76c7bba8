"""Passwords are generated once, kept private, and never shown."""

import stat
from pathlib import Path

import pytest
from plimsoll_devstack.credentials import Credentials, load_or_create
from plimsoll_devstack.errors import OtherVersion


def _load(path: Path, *more: str) -> Credentials:
    return load_or_create(path, postgres=("gateway", *more), nats=("gateway",), redis=("gateway",))


def test_passwords_stay_the_same(tmp_path: Path) -> None:
    first, second = _load(tmp_path / "c.json"), _load(tmp_path / "c.json")
    assert first == second
    assert len({first.postgres["gateway"], first.nats["gateway"], first.redis["gateway"]}) == 3


def test_a_new_user_changes_no_other_password(tmp_path: Path) -> None:
    first, second = _load(tmp_path / "c.json"), _load(tmp_path / "c.json", "memory")
    assert second.postgres["gateway"] == first.postgres["gateway"]
    assert len(second.postgres["memory"]) >= 32


def test_nobody_forgets_a_user_who_was_not_asked_for(tmp_path: Path) -> None:
    before = _load(tmp_path / "c.json", "memory").postgres["memory"]
    _load(tmp_path / "c.json")
    assert _load(tmp_path / "c.json", "memory").postgres["memory"] == before


def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    _load(tmp_path / "c.json")
    assert stat.S_IMODE((tmp_path / "c.json").stat().st_mode) == 0o600


def test_printing_shows_no_password(tmp_path: Path) -> None:
    credentials = _load(tmp_path / "c.json")
    assert credentials.postgres["gateway"] not in repr(credentials)


@pytest.mark.parametrize("content", ["", "{", "[]", "nonsense"])
def test_a_damaged_file_is_refused_rather_than_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(OtherVersion, match=r"c\.json"):
        _load(tmp_path / "c.json")
    assert (tmp_path / "c.json").read_text() == content
