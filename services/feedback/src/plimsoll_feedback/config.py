"""The settings of feedback, read once from PLIMSOLL_FEEDBACK_… variables."""

from dataclasses import dataclass

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, ServerSettings, nested, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")
    ingest_batch: int = setting(256, doc="events stored in one transaction at the most, 1 to 2000")
    partition_days: int = setting(7, doc="days ahead for which partitions are made, 1 to 60")

    def __post_init__(self) -> None:
        if not 1 <= self.ingest_batch <= 2000:
            raise ValueError(f"INGEST_BATCH is {self.ingest_batch}: use 1 to 2000")
        if not 1 <= self.partition_days <= 60:
            raise ValueError(f"PARTITION_DAYS is {self.partition_days}: use 1 to 60")
