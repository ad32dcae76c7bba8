"""Labels: which may move when, and the record of every move."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain.entries import Kind
from plimsoll_model_router.domain.names import NAME, NAME_REMEDY
from plimsoll_model_router.domain.prompts import ByLabel, Selector
from plimsoll_model_router.errors import InvalidLabel, NothingBefore

_REASON_CAP = 2000
NOWHERE = 0  # the version of a label that does not exist


class Grounds(StrEnum):
    """Why a label was allowed to move."""

    OPEN = "open"  # it is not protected
    FIRST = "first"  # it did not exist: there was nothing to compare with
    REPORT = "report"  # a passing evaluation report
    ROLLBACK = "rollback"  # back to where it was before
    OVERRIDE = "override"  # somebody with the right to do so took the responsibility


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryReference:
    """Names one version of anything in the registry."""

    kind: Kind
    name: str
    selector: Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A label moves from one version to another. `position` orders the moves of a tenant."""

    kind: Kind
    name: str
    label: str
    from_version: int
    to_version: int
    grounds: Grounds
    report_digest: str = ""
    reason: str = ""
    moved_by: str = ""
    moved_at: datetime | None = None
    position: int = 0


def checked(label: str, *, reason: str | None = None) -> str:
    """The label, when it can be one. With `reason`, that must be given too. Raises InvalidLabel."""
    problems = list(_problems(label, reason))
    if problems:
        raise InvalidLabel(problems=problems)
    return label


def version_before(moves: Sequence[Move], current: int) -> int:
    """Where a label was before it came to `current`, by its moves, newest first. Raises NothingBefore."""
    for move in moves:
        if move.to_version == current and move.grounds is not Grounds.ROLLBACK:
            if move.from_version == NOWHERE:
                break
            return move.from_version
    raise NothingBefore(remedy="register a version and move the label to it")


def unlabelled(reference: EntryReference) -> EntryReference:
    """The reference, when it names a version for itself. Raises InvalidLabel: what a label points at may change while it is read."""
    if isinstance(reference.selector, ByLabel):
        problem = FieldProblem("target.selector", "is a label", "name the version to point at by its number or digest")
        raise InvalidLabel(problems=(problem,))
    return reference


def _problems(label: str, reason: str | None) -> Iterator[FieldProblem]:
    if not NAME.fullmatch(label):
        yield FieldProblem("label", f"is {label!r}", NAME_REMEDY)
    if reason is not None and not reason.strip():
        yield FieldProblem("reason", "is empty", "say why, for those who read the record")
    if reason is not None and (len(reason) > _REASON_CAP or "\x00" in reason):
        yield FieldProblem("reason", f"is longer than {_REASON_CAP} characters, or holds U+0000", "say it shorter")
