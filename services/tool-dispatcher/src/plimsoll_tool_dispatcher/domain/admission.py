"""The checks before anything is reserved, in their order: the definition, the arguments, the grant."""

from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Proposal, propose
from plimsoll_tool_dispatcher.domain.defaults import with_defaults
from plimsoll_tool_dispatcher.domain.schema_shape import MAX_NESTING, nesting
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool

_MAX_MESSAGE_CHARS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The call may ask the ledger for leave to run."""

    tool: Tool
    proposal: Proposal
    grant: Grant | None


Admission: TypeAlias = Admitted | Failed | ApprovalRequired


def admit(call: Call, tool: Tool | None, most_chars: int) -> Admission:
    """Every check that needs nothing but the call and the definition."""
    if tool is None:
        failure = Failure(
            category=Category.UNKNOWN_TOOL,
            reason="UNKNOWN_TOOL",
            message=f"no tool is named {call.tool[:80]!r}",
            where=call.tool[:80],
        )
        return Failed(failure=failure)
    effective = _effective_arguments(call, tool, most_chars)
    if isinstance(effective, Failed):
        return effective
    proposal = propose(call, tool.digest, effective)
    grant = next((grant for grant in call.grants if grant.call_digest == proposal.call_digest), None)
    if tool.risk is Risk.HIGH and grant is None:
        return ApprovalRequired(proposal=proposal)
    return Admitted(tool=tool, proposal=proposal, grant=grant if tool.risk is Risk.HIGH else None)


def _effective_arguments(call: Call, tool: Tool, most_chars: int) -> JsonObject | Failed:
    if call.arguments_chars > most_chars:
        return _invalid(tool, (FieldProblem("arguments", f"are longer than {most_chars} characters", "send less, or a reference"),))
    if not isinstance(call.arguments, dict):
        return _invalid(tool, (FieldProblem("arguments", "is not an object", "send an object: {…}"),))
    if nesting(call.arguments, MAX_NESTING) > MAX_NESTING:
        return _invalid(tool, (FieldProblem("arguments", f"is nested deeper than {MAX_NESTING} levels", "send a flatter value"),))
    effective = with_defaults(call.arguments, tool.arguments.document)
    problems = tool.arguments.problems(effective, "arguments")
    return _invalid(tool, problems) if problems else effective


def _invalid(tool: Tool, problems: tuple[FieldProblem, ...]) -> Failed:
    return Failed(
        failure=Failure(
            category=Category.INVALID_ARGUMENTS,
            reason="INVALID_ARGUMENTS",
            message=told(problems),
            where=tool.name,
        )
    )


def told(problems: tuple[FieldProblem, ...]) -> str:
    """Problems as one message of bounded length."""
    text = "; ".join(map(str, problems))
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[: _MAX_MESSAGE_CHARS - 1] + "…"
