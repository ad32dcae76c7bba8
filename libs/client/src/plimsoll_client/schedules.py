"""Schedules: runs that start by themselves at times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.json_types import JsonObject

from plimsoll_client.options import USUAL, RunOptions


class MissedPolicy(StrEnum):
    """What becomes of times that passed while nothing could fire."""

    SKIP = "skip"  # they are left out
    ONCE = "once"  # one run for all of them
    ALL = "all"  # a run for each, at most 100
    UNKNOWN = "unknown"  # a word of a newer mesh


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """What is put as a schedule. `cron` has five fields: minute, hour, day of month, month, day of week.

    Attributes:
    time_zone  IANA name; empty means UTC
    missed     None means once
    """

    name: str
    agent: str
    cron: str
    input: JsonObject = field(default_factory=dict)
    time_zone: str = ""
    missed: MissedPolicy | None = None
    paused: bool = False
    options: RunOptions = USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule, when it fires next, and what became of its last firing. `last_problem` is empty when that started a run."""

    draft: ScheduleDraft
    next_at: datetime | None
    last_at: datetime | None
    last_run_id: str
    last_problem: str

    @property
    def name(self) -> str:
        return self.draft.name
