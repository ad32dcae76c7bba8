"""What a mesh of containers needs to trust itself: certificates, passwords and addresses as files, one folder for each container.

    authority/            the certificate authority; stays on the host
    credentials.json      every password; stays on the host
    <service>/            ca.pem, tls.pem, tls.key, postgres_dsn, nats_url, redis_url; credentials/ of the tools
    postgres/             superuser_password, host, port, passwords/<role>
    nats/                 accounts.conf
    redis/                users.acl

The folder as a whole is for its owner alone; the files inside are readable by all, because the accounts inside of containers
are not the owner's.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_devstack.credentials import Credentials, load_or_create
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.names import SERVICES, folder_name
from plimsoll_devstack.servers.nats import OPERATOR, accounts
from plimsoll_devstack.servers.postgres import DATABASE, SUPERUSER
from plimsoll_devstack.servers.provision import EXAMPLES, READER, ROLES
from plimsoll_devstack.servers.redis import rights

_FOR_ALL_FILE, _FOR_ALL_FOLDER = 0o444, 0o755
WORKSPACES = "/var/lib/plimsoll"
"""Where the tool dispatcher's container keeps the files of its tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the servers are, as the services see them."""

    postgres: str = "postgres:5432"
    nats: str = "nats:4222"
    redis: str = "redis:6379"


def write_deployment(directory: Path, addresses: Addresses, now: datetime) -> None:
    """Write what is missing or outdated into `directory`; passwords stay, certificates near their end are made anew.

    Harmless to repeat while the mesh runs: services take new certificates up without a restart.
    """
    private_directory(directory)
    authority = directory / "authority"
    ensure_certificates(authority, tuple(folder_name(service) for service in SERVICES), now)
    everybody = (*SERVICES, OPERATOR)
    users = load_or_create(directory / "credentials.json", postgres=(SUPERUSER, *ROLES), nats=everybody, redis=everybody)
    for service in SERVICES:
        _write_service(directory / folder_name(service), service, authority, users, addresses)
    _write_tools(directory / "tool-dispatcher" / "credentials", users, addresses)
    host, _, port = addresses.postgres.rpartition(":")
    for name, value in (("superuser_password", users.postgres[SUPERUSER]), ("host", host), ("port", port)):
        _write(directory / "postgres" / name, value)
    for role in ROLES:
        _write(directory / "postgres" / "passwords" / role, users.postgres[role])
    _write(directory / "nats" / "accounts.conf", f"accounts: {json.dumps(accounts(users.nats), indent=2)}\n")
    acl = ["user default off", *(f"user {name} on >{users.redis[name]} {rights(name)}" for name in everybody)]
    _write(directory / "redis" / "users.acl", "\n".join(acl) + "\n")


def _write_service(folder: Path, service: str, authority: Path, users: Credentials, addresses: Addresses) -> None:
    tls = certificate_files(authority, folder_name(service))
    _write(folder / "tls.key", tls.key.read_text())
    _write(folder / "tls.pem", tls.certificate.read_text())
    _write(folder / "ca.pem", tls.ca.read_text())
    _write(folder / "postgres_dsn", _dsn(service, DATABASE, users, addresses))
    _write(folder / "nats_url", f"nats://{service}:{quote(users.nats[service])}@{addresses.nats}")
    _write(folder / "redis_url", f"redis://{service}:{quote(users.redis[service])}@{addresses.redis}/0")


def _write_tools(folder: Path, users: Credentials, addresses: Addresses) -> None:
    """What the tools on board need; which pages they may fetch is for the user to narrow: a file that is there stays."""
    writing, reading = _dsn(EXAMPLES, EXAMPLES, users, addresses), _dsn(READER, EXAMPLES, users, addresses)
    given = {"examples_database": writing, "sql_write_database": writing, "sql_read_database": reading, "workspace_directory": WORKSPACES}
    for name, value in given.items():
        _write(folder / name, value)
    if not (folder / "web_origins").exists():
        _write(folder / "web_origins", "allow: *")


def _dsn(role: str, database: str, users: Credentials, addresses: Addresses) -> str:
    return f"postgresql://{role}:{quote(users.postgres[role])}@{addresses.postgres}/{database}"


def _write(path: Path, text: str) -> None:
    """Replace a file whose text is another; one that is right stays as it is, so that nobody takes it for new."""
    path.parent.mkdir(mode=_FOR_ALL_FOLDER, parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return
    write_private(path, text)
    path.chmod(_FOR_ALL_FILE)


def renew(directory: Path) -> None:
    """Forget the certificates of all services, but not their authority: the next `write_deployment` makes new ones."""
    for service in SERVICES:
        certificate_files(directory / "authority", folder_name(service)).certificate.unlink(missing_ok=True)
