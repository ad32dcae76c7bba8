"""The settings of feedback, read once from PLIMSOLL_FEEDBACK_… variables."""

from dataclasses import dataclass
from typing import Literal

from plimsoll_runtime.egress import EgressRules
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, nested, setting
from yarl import URL

from plimsoll_feedback.domain.alert_message import key_of
from plimsoll_feedback.domain.monitor import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    alpha: float = setting(0.01, doc="chance that one monitor ever raises a false alarm, 0.000001 to 0.5")
    baseline: int = setting(200, doc="observations that make a baseline, 20 to 5000")
    minimum: int = setting(20, doc="observations of a version before its monitor may raise an alert, at least 1")

    def __post_init__(self) -> None:
        if not 1e-6 <= self.alpha <= 0.5:
            raise ValueError(f"MONITOR_ALPHA is {self.alpha:g}: use 0.000001 to 0.5")
        if not 20 <= self.baseline <= 5000:
            raise ValueError(f"MONITOR_BASELINE is {self.baseline}: use 20 to 5000")
        if self.minimum < 1:
            raise ValueError("MONITOR_MINIMUM must be at least 1")

    @property
    def rules(self) -> Rules:
        return Rules(alpha=self.alpha, baseline=self.baseline, minimum=self.minimum)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    webhook_url: str = setting("", doc="where alerts are told by HTTP POST, in the form of Standard Webhooks; empty: nowhere")
    webhook_secret: Secret = setting(Secret(""), doc="signs them: whsec_ and Base64; empty: not signed")
    networks: tuple[str, ...] = setting((), doc="networks of addresses that are not public and that alerts may reach all the same")

    def __post_init__(self) -> None:
        if self.webhook_secret:
            key_of(self.webhook_secret)  # raises what the start then tells
        if self.webhook_url:
            _ = self.rules

    @property
    def rules(self) -> EgressRules:
        """Only the origin of the URL itself."""
        return EgressRules.parse((str(URL(self.webhook_url).origin()),), self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    url: str = setting(
        "", doc="OTLP/HTTP address that every operation is exported to as a span, such as http://host:4318/v1/traces; empty: none"
    )
    headers: Secret = setting(Secret(""), doc="sent with them: name=value, separated by commas")
    profile: Literal["otel", "langfuse", "langsmith"] = setting("otel", doc="whose attributes are written: otel, langfuse or langsmith")
    settle_s: float = setting(5.0, doc="seconds that an operation waits, so that the step that it belongs to is known")
    networks: tuple[str, ...] = setting((), doc="networks of addresses that are not public and that spans may reach all the same")

    def __post_init__(self) -> None:
        if self.settle_s < 0:
            raise ValueError("EXPORT_SETTLE_S must not be negative")
        _ = self.header_map
        if self.url:
            _ = self.rules

    @property
    def rules(self) -> EgressRules:
        """Only the origin of the URL itself."""
        return EgressRules.parse((str(URL(self.url).origin()),), self.networks)

    @property
    def header_map(self) -> dict[str, str]:
        """Raises ValueError, without what was read: it may hold a key."""
        found = {}
        for pair in filter(None, self.headers.reveal().split(",")):
            name, equals, value = pair.partition("=")
            if not equals or not name.strip():
                raise ValueError("EXPORT_HEADERS is not name=value, separated by commas")
            found[name.strip().lower()] = value.strip()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")
    ingest_batch: int = setting(256, doc="events stored in one transaction at the most, 1 to 2000")
    partition_days: int = setting(7, doc="days ahead for which partitions are made, 1 to 60")

    retention_days: int = setting(0, doc="days that operations, runs, signals and labels are kept; 0 means for ever")
    model_router_address: str = setting("", doc="gRPC address of the model-router, host:port; empty: bodies of model calls cannot be shown")
    tool_dispatcher_address: str = setting(
        "", doc="gRPC address of the tool-dispatcher, host:port; empty: bodies of tool calls cannot be shown"
    )
    orchestrator_address: str = setting("", doc="gRPC address of the orchestrator, host:port; empty: bodies of steps cannot be shown")

    select_every_s: float = setting(5.0, doc="seconds between two looks at what datasets could take from production, 0.1 to 3600")

    monitors: MonitorSettings = nested(MonitorSettings, "MONITOR_")
    alerts: AlertSettings = nested(AlertSettings, "ALERT_")
    export: ExportSettings = nested(ExportSettings, "EXPORT_")

    def __post_init__(self) -> None:
        if not 1 <= self.ingest_batch <= 2000:
            raise ValueError(f"INGEST_BATCH is {self.ingest_batch}: use 1 to 2000")
        if not 0.1 <= self.select_every_s <= 3600:
            raise ValueError(f"SELECT_EVERY_S is {self.select_every_s}: use 0.1 to 3600")
        if self.retention_days < 0:
            raise ValueError("RETENTION_DAYS must not be negative")
        if not 1 <= self.partition_days <= 60:
            raise ValueError(f"PARTITION_DAYS is {self.partition_days}: use 1 to 60")
