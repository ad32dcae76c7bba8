"""Runs as they were: lists of them, and the timeline of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll_runtime.json_types import JsonValue

from plimsoll_client.observations import Operation

if TYPE_CHECKING:  # these load protobuf
    from plimsoll_runtime.failures import Category
    from plimsoll_runtime.usage import Usage


class TraceStatus(StrEnum):
    """How a run ended, if it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """Which runs: every part that is given must hold. `text` is words in nodes, names, reasons, messages, comments and tags."""

    agent: str = ""
    agent_version: str = ""
    status: TraceStatus | None = None
    category: Category | None = None
    tags: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    min_cost_micros: int = 0
    min_duration_s: float = 0.0
    text: str = ""
    thread_id: str = ""
    parent_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A run. `categories` are those that anything in it bears; `category` and `reason` are its own when it failed."""

    run_id: str
    agent: str
    agent_version: str
    status: TraceStatus
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    usage: Usage
    steps: int
    category: Category | None
    reason: str
    categories: tuple[Category, ...]
    tags: tuple[str, ...]
    parent_run_id: str
    thread_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterLabel:
    """A category given afterwards, by a rule that saw more or by a `person`, whose word wins."""

    category: Category
    rule: str
    evidence: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEntry:
    """An operation in its place: `depth` 0 is the run, 1 a step, 2 a call."""

    operation: Operation
    parent_operation_id: str
    depth: int
    labels: tuple[LaterLabel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything that happened in one run, in order of time, and the runs that it started."""

    trace: Trace
    entries: tuple[TraceEntry, ...]
    children: tuple[Trace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBody:
    """What went in and what came out. `missing` says why something is absent."""

    input: JsonValue
    output: JsonValue
    owner: str
    missing: str
