"""The orchestrator's settings."""

from dataclasses import dataclass

from plimsoll_runtime.egress import EgressRules
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, ServerSettings, nested, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    origins: tuple[str, ...] = setting(
        (), doc="where webhooks may go, such as https://hooks.example.com:8443; none means any host by https on port 443"
    )
    networks: tuple[str, ...] = setting((), doc="networks of addresses that are not public and that webhooks may reach all the same")

    def __post_init__(self) -> None:
        _ = self.rules  # an origin or a network that cannot be read is told at the start

    @property
    def rules(self) -> EgressRules:
        return EgressRules.parse(self.origins or ("*",), self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    journal_days: float = setting(
        30.0, doc="days that finished runs keep their journals, and webhooks their settled messages; 0 means for ever"
    )
    run_days: float = setting(365.0, doc="days that finished runs are kept at all; 0 means for ever")

    def __post_init__(self) -> None:
        if self.journal_days < 0 or self.run_days < 0:
            raise ValueError("RETENTION_JOURNAL_DAYS and RETENTION_RUN_DAYS must not be negative")


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
    webhooks: WebhookSettings = nested(WebhookSettings, "WEBHOOK_")
    retention: RetentionSettings = nested(RetentionSettings, "RETENTION_")

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
