"""`handle`: which failure gets which remedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.builder.declaring import given


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Do the failed node again, at most `limit` times in all."""

    when: str | None = None
    limit: int | None = None

    def declared(self) -> JsonObject:
        return given({"when": self.when, "retry": True, "limit": self.limit})


@dataclass(frozen=True, slots=True)
class GoTo:
    """Go on at a node."""

    next: str
    when: str | None = None

    def declared(self) -> JsonObject:
        return given({"when": self.when, "next": self.next})


@dataclass(frozen=True, slots=True)
class Escalate:
    """Ask a person; yes means do the failed node again, no means fail. `summary` is an expression. After `limit` yeses it applies no more."""

    summary: str
    when: str | None = None
    limit: int | None = None

    def declared(self) -> JsonObject:
        return given({"when": self.when, "escalate": self.summary, "limit": self.limit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensate:
    """Undo the finished nodes that say how, latest first; then go to `next`, or fail when there is none."""

    next: str | None = None
    when: str | None = None

    def declared(self) -> JsonObject:
        return given({"when": self.when, "compensate": given({"next": self.next})})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The run fails with the failure."""

    when: str | None = None

    def declared(self) -> JsonObject:
        return given({"when": self.when, "fail": True})


Remedy: TypeAlias = Retry | GoTo | Escalate | Compensate | Fail


@dataclass(frozen=True, slots=True)
class Handle:
    """`handle`: the first remedy whose condition holds; the last one has none. Expressions see failure and attempts."""

    kind: ClassVar[str] = "handle"
    cases: Sequence[Remedy]

    def declared(self) -> list[JsonValue]:
        return [case.declared() for case in self.cases]
