"""The embedded PostgreSQL with pgvector: its cluster on disk, its roles and schemas, its process."""

import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from plimsoll_devstack.account import Account, give_tree, unprivileged_account
from plimsoll_devstack.errors import OtherVersion, StartFailed
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.names import LOOPBACK
from plimsoll_devstack.parts import last_words, tail
from plimsoll_devstack.processes import Program, run_to_end
from plimsoll_devstack.servers.leftovers import end_postmaster

MAJOR = "18"
SUPERUSER = "postgres"
DATABASE = "plimsoll"
_INIT_WITHIN_S = 60.0

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP only: socket paths have a length limit that data directories do not
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",  # two cores have better things to do, and containers little shared memory
    "max_parallel_maintenance_workers": "0",
    "jit": "off",  # compiling costs more than any query of ours runs
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "datestyle": "iso, ymd",
    "default_text_search_config": "pg_catalog.english",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_messages": "warning",
    "idle_in_transaction_session_timeout": "60s",
}
_THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """One cluster below `directory`, listening on `port`. `durable=False` is for data nobody will miss."""

    programs: Path
    directory: Path
    port: int
    passwords: dict[str, str] = field(repr=False)
    log: Path
    durable: bool = True

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def cluster(self) -> Path:
        """The data directory of Postgres itself."""
        return self.directory / "cluster"

    @property
    def exists(self) -> bool:
        """Whether the cluster was created before."""
        return self.cluster.exists()

    def dsn(self, role: str, *, database: str = DATABASE) -> str:
        """How `role` connects; holds its password."""
        return f"postgresql://{role}:{self.passwords[role]}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> Program:
        """Create the cluster when there is none, end what an earlier start left, and say how to start."""
        private_directory(self.directory)
        account = unprivileged_account(self.cluster, self.programs / "postgres")
        if not self.exists:
            self._create(account)
        self._check_major()
        end_postmaster(self.cluster)
        self._configure()
        give_tree(self.directory, account)
        return Program(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", str(self.cluster), "-p", str(self.port)),
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=self.directory,
            log=self.log,
            account=account,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, keeps everything committed
            stop_within_s=30.0,
        )

    async def ping(self) -> None:
        """Raise OSError until the server lets the superuser in."""
        try:
            connection = await asyncpg.connect(self.dsn(SUPERUSER, database="postgres"), timeout=5)
            await connection.close()
        except asyncpg.CannotConnectNowError as error:
            raise ConnectionError("Postgres is still starting") from error
        except asyncpg.InvalidPasswordError as error:
            raise StartFailed(
                "the database does not know the password in credentials.json",
                remedy="Restore that file, or begin with another --data directory",
            ) from error

    def _create(self, account: Account | None) -> None:
        fresh = self.directory / "cluster.new"
        if fresh.exists():
            shutil.rmtree(fresh)  # an earlier initdb was interrupted
        password = self.directory / "superuser-password"
        write_private(password, self.passwords[SUPERUSER])
        fresh.mkdir(mode=0o700)
        give_tree(self.directory, account)
        log = self.log.with_name("postgres-initdb.log")
        command = [str(self.programs / "initdb"), "-D", str(fresh), "-U", SUPERUSER, f"--pwfile={password}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        command += [] if self.durable else ["--no-sync"]
        initdb = Program(name="initdb", argv=tuple(command), env={"LC_ALL": "C"}, cwd=self.directory, log=log, account=account)
        try:
            code = run_to_end(initdb, within_s=_INIT_WITHIN_S)
        finally:
            password.unlink()
        if code != 0:
            told = [line for line in tail(log) if "error:" in line or "FATAL" in line]
            said = f": {told[-1]}" if told else last_words(log)
            raise StartFailed(f"the database could not be created{said}", remedy=f"Mend what it says, then try again; see {log}")
        fresh.rename(self.cluster)  # only a whole cluster ever bears the name

    def _check_major(self) -> None:
        try:
            major = (self.cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise OtherVersion(
                f"{self.cluster} is no whole PostgreSQL database: it has no PG_VERSION",
                remedy="Restore the data directory from a copy, or choose another --data",
            ) from error
        if major != MAJOR:
            raise OtherVersion(
                f"data directory {self.directory.parent} holds a PostgreSQL {major} database; this version of Plimsoll runs {MAJOR}",
                remedy="Use the Plimsoll version that made it, or another --data directory",
            )

    def _configure(self) -> None:
        settings = _SETTINGS | ({} if self.durable else _THROWAWAY)
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        write_private(self.cluster / "postgresql.conf", f"# Written at every start.\n{lines}")
        write_private(self.cluster / "pg_hba.conf", f"host all all {LOOPBACK}/32 scram-sha-256\n")
        for name in ("postgresql.conf", "pg_hba.conf"):
            owner = self.cluster.stat()
            shutil.chown(self.cluster / name, owner.st_uid, owner.st_gid)
