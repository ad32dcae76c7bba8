"""The orchestrator's settings."""

from dataclasses import dataclass

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, ServerSettings, nested, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    role: str = setting("all", doc="api serves requests, worker advances runs, all does both")
    slots: int = setting(500, doc="runs that a worker advances at once")
    model_router_address: str = setting(doc="gRPC address of the model-router, host:port")
    tool_dispatcher_address: str = setting(doc="gRPC address of the tool-dispatcher, host:port")
    memory_address: str = setting(doc="gRPC address of memory, host:port")
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")

    def __post_init__(self) -> None:
        if self.role not in {"api", "worker", "all"}:
            raise ValueError(f"ROLE is {self.role!r}: use api, worker or all")
        if self.slots < 1:
            raise ValueError("SLOTS must be at least 1")

    @property
    def serves(self) -> bool:
        return self.role != "worker"

    @property
    def works(self) -> bool:
        return self.role != "api"
