"""The settings of the tool dispatcher, read once from PLIMSOLL_TOOL_DISPATCHER_… variables."""

from dataclasses import dataclass

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, ServerSettings, nested, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")
    redis: RedisSettings = nested(RedisSettings, "REDIS_")
    replicas: int = setting(1, doc="replicas of this service; without Redis each grants its share of every rate limit")
    tool_dirs: tuple[str, ...] = setting((), doc="directories of tool files, as globs such as /agents/*/tools, separated by commas")
    credentials_dir: str = setting("", doc="directory with one file per credential, named like it; empty means there are none")
    memory_address: str = setting("", doc="gRPC address of memory, host:port; empty leaves the tool that searches knowledge out")
    policy_dirs: tuple[str, ...] = setting(
        (), doc="directories of policy files, as globs, separated by commas; none means the built-in policy"
    )
    scan_s: float = setting(2.0, doc="seconds between two looks for new and changed files")
    lease_s: float = setting(10.0, doc="seconds after which the calls of a dispatcher that died are free for another")
    worker_memory_mib: int = setting(1024, doc="address space of one worker process in MiB")
    worker_load_s: float = setting(20.0, doc="seconds that a worker process may take to load its handlers")
    arguments_kib: int = setting(8192, doc="largest arguments of a call in KiB")
    result_kib: int = setting(8192, doc="largest result of a call in KiB")

    keep_calls_s: float = setting(30 * 86_400.0, doc="seconds for which ended calls are kept; a key asked for later is a new call")
    keep_results_s: float = setting(7 * 86_400.0, doc="seconds for which results are kept for tools that fall back to their last one")
    keep_runs_s: float = setting(400 * 86_400.0, doc="seconds for which a run's epoch and labels are kept after its last call is gone")

    def __post_init__(self) -> None:
        least: dict[str, tuple[float, float]] = {
            "REPLICAS": (self.replicas, 1),
            "SCAN_S": (self.scan_s, 0.05),
            "LEASE_S": (self.lease_s, 0.2),
            "WORKER_MEMORY_MIB": (self.worker_memory_mib, 128),
            "WORKER_LOAD_S": (self.worker_load_s, 0.1),
            "ARGUMENTS_KIB": (self.arguments_kib, 1),
            "RESULT_KIB": (self.result_kib, 1),
            "KEEP_CALLS_S": (self.keep_calls_s, 3600),
            "KEEP_RESULTS_S": (self.keep_results_s, 60),
            "KEEP_RUNS_S": (self.keep_runs_s, 3600),
        }
        wrong = [f"{name} is {value:g}: use {lowest:g} or more" for name, (value, lowest) in least.items() if value < lowest]
        largest = self.server.max_message_mib * 1024 - 64
        wrong += [
            f"{name} is {value}: MAX_MESSAGE_MIB allows {largest} at the most"
            for name, value in (("ARGUMENTS_KIB", self.arguments_kib), ("RESULT_KIB", self.result_kib))
            if value > largest
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
