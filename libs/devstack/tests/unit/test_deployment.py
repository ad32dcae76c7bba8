"""The secrets of a mesh in containers: whole, stable, and nobody's but their owner's."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plimsoll_devstack.deployment import Addresses, renew, write_deployment
from plimsoll_devstack.names import SERVICES, folder_name

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    write_deployment(directory, Addresses(), NOW)
    return directory


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_its_own_passwords_and_nobody_elses(secrets: Path, service: str) -> None:
    passwords = json.loads((secrets / "credentials.json").read_text())
    mine = {users[service] for users in passwords.values()}
    others = {
        password for users in passwords.values() for user, password in users.items() if user != service and not user.startswith("examples")
    }
    text = "".join(contents(secrets / folder_name(service)).values())
    assert all(password in text for password in mine)
    assert not [password for password in others if password in text]


@pytest.mark.parametrize("service", SERVICES)
def test_the_authoritys_key_is_in_no_service_s_folder(secrets: Path, service: str) -> None:
    key = (secrets / "authority" / "ca.key").read_text()
    assert key not in contents(secrets / folder_name(service)).values()


def test_only_its_owner_can_look_into_the_folder_and_every_container_into_its_part(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((secrets / "authority" / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((secrets / "gateway" / "tls.key").stat().st_mode) == 0o444


def test_a_repeat_changes_nothing(secrets: Path) -> None:
    before = contents(secrets)
    write_deployment(secrets, Addresses(), NOW + timedelta(days=30))
    assert contents(secrets) == before


def test_certificates_near_their_end_are_renewed_and_passwords_stay(secrets: Path) -> None:
    before = contents(secrets)
    write_deployment(secrets, Addresses(), NOW + timedelta(days=350))
    after = contents(secrets)
    assert {name for name in after if after[name] != before[name]} >= {"gateway/tls.pem", "gateway/tls.key"}
    assert {name for name in after if after[name] == before[name]} >= {"gateway/ca.pem", "gateway/postgres_dsn", "credentials.json"}


def test_certificates_can_be_renewed_at_any_time(secrets: Path) -> None:
    before = contents(secrets)
    renew(secrets)
    write_deployment(secrets, Addresses(), NOW)
    after = contents(secrets)
    assert after["memory/tls.pem"] != before["memory/tls.pem"]
    assert after["memory/ca.pem"] == before["memory/ca.pem"]


def test_other_servers_are_reached_where_they_are(tmp_path: Path) -> None:
    write_deployment(tmp_path / "secrets", Addresses(postgres="db.example.com:6432", nats="bus:4222", redis="cache:6379"), NOW)
    assert "@db.example.com:6432/plimsoll" in (tmp_path / "secrets" / "gateway" / "postgres_dsn").read_text()


def test_which_pages_tools_may_fetch_is_for_the_user_to_say(secrets: Path) -> None:
    origins = secrets / "tool-dispatcher" / "credentials" / "web_origins"
    origins.chmod(0o644)
    origins.write_text("allow: https://example.com")
    write_deployment(secrets, Addresses(), NOW)
    assert origins.read_text() == "allow: https://example.com"
