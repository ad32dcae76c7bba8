"""The stages before anything is reserved, in their order: definition, arguments, policy, approval. Each is a function of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Proposal, Secrets, propose
from plimsoll_tool_dispatcher.domain.defaults import with_defaults
from plimsoll_tool_dispatcher.domain.policy import Policy, Ruling, Terms, Verb, judge
from plimsoll_tool_dispatcher.domain.registry import Barred, Resolved
from plimsoll_tool_dispatcher.domain.schema_shape import MAX_NESTING, nesting
from plimsoll_tool_dispatcher.domain.tool import Tool

_MAX_MESSAGE_CHARS = 1500
_NOBODY = Secrets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """What admission goes by: the policy, what the run has read so far, the tool's credentials, and the longest arguments."""

    policy: Policy
    most_chars: int
    run_labels: tuple[str, ...] = ()
    secrets: Secrets = _NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The call may ask the ledger for leave to run."""

    tool: Tool
    proposal: Proposal
    grant: Grant | None
    ruling: Ruling
    secrets: Secrets = _NOBODY


Admission: TypeAlias = Admitted | Failed | ApprovalRequired


def admit(call: Call, found: Resolved, book: Rulebook) -> Admission:
    """Every stage that needs nothing but the call, the definition and the rules."""
    tool = resolved(call, found)
    if isinstance(tool, Failed):
        return tool
    effective = effective_arguments(call, tool, book.most_chars)
    if isinstance(effective, Failed):
        return effective
    ruling = ruled(call, tool, effective, book)
    if isinstance(ruling, Failed):
        return ruling
    return approved(call, tool, effective, ruling, book.secrets)


def resolved(call: Call, found: Resolved) -> Tool | Failed:
    """The pinned definition. To another tenant, a tool that is barred looks like one that does not exist: it is not found at all."""
    match found:
        case None:
            name = call.tool[:80]
            failure = Failure(category=Category.UNKNOWN_TOOL, reason="UNKNOWN_TOOL", message=f"no tool is named {name!r}", where=name)
            return Failed(failure=failure)
        case Barred():
            return _denied(found.tool, found.bar.value, found.message)
        case Tool():
            return found


def effective_arguments(call: Call, tool: Tool, most_chars: int) -> JsonObject | Failed:
    """The arguments, completed by their defaults, if they fit the schema."""
    if call.arguments_chars > most_chars:
        return _invalid(tool, (FieldProblem("arguments", f"are longer than {most_chars} characters", "send less, or a reference"),))
    if not isinstance(call.arguments, dict):
        return _invalid(tool, (FieldProblem("arguments", "is not an object", "send an object: {…}"),))
    if nesting(call.arguments, MAX_NESTING) > MAX_NESTING:
        return _invalid(tool, (FieldProblem("arguments", f"is nested deeper than {MAX_NESTING} levels", "send a flatter value"),))
    effective = with_defaults(call.arguments, tool.arguments.document)
    problems = tool.arguments.problems(effective, "arguments")
    return _invalid(tool, problems) if problems else effective


def ruled(call: Call, tool: Tool, arguments: JsonObject, book: Rulebook) -> Ruling | Failed:
    """What policy says; a denial is a failure that names the rule."""
    caller: Mapping[str, str] = {"service": call.service, "tenant": call.tenant, "principal": call.principal}
    run: JsonObject = {"id": call.work.run_id, "agent": call.work.agent, "node": call.work.node, "labels": list(book.run_labels)}
    ruling = judge(book.policy, tool, arguments, caller, run)
    return Failed(failure=_denial(tool, ruling), ruling=ruling) if ruling.verb is Verb.DENY else ruling


def approved(call: Call, tool: Tool, arguments: JsonObject, ruling: Ruling, secrets: Secrets) -> Admission:
    """The grant that fits exactly this call, if people have to decide and have. Whether it is still unspent is for the ledger to say."""
    if secrets.missing:
        failure = Failure(
            category=Category.TOOL_ERROR,
            reason="CREDENTIAL_MISSING",
            message=f"the dispatcher has no credential named {', '.join(secrets.missing)}",
            where=tool.name,
        )
        return Failed(failure=failure)
    terms = ruling.terms
    proposal = propose(
        call,
        tool.digest,
        arguments,
        policy=ruling.policy,
        credentials=secrets.version,
        terms=terms,
        message=ruling.message if terms else "",
    )
    if terms is None:
        return Admitted(tool=tool, proposal=proposal, grant=None, ruling=ruling, secrets=secrets)
    grant = next((grant for grant in call.grants if grant.call_digest == proposal.call_digest), None)
    if grant is None:
        return ApprovalRequired(proposal=proposal)
    problem = unfitness(grant, terms, call)
    if problem is not None:
        return Failed(
            failure=Failure(category=Category.POLICY_DENIED, reason=problem[0], message=problem[1], where=tool.name), ruling=ruling
        )
    return Admitted(tool=tool, proposal=proposal, grant=grant, ruling=ruling, secrets=secrets)


def unfitness(grant: Grant, terms: Terms, call: Call) -> tuple[str, str] | None:
    """Why a grant for this very call is not enough: reason and message. None when it is."""
    approvers = grant.approvers
    if terms.four_eyes:
        approvers -= {name for name in (grant.requested_by, call.principal) if name}
        if not approvers:
            return "GRANT_BY_REQUESTER", "who asked for the call may not be the one who approves it"
    if len(approvers) < terms.quorum:
        return "GRANT_SHORT_OF_QUORUM", f"{terms.quorum} people have to approve, {len(approvers)} did"
    return None


def told(problems: tuple[FieldProblem, ...]) -> str:
    """Problems as one message of bounded length."""
    text = "; ".join(map(str, problems))
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[: _MAX_MESSAGE_CHARS - 1] + "…"


def _invalid(tool: Tool, problems: tuple[FieldProblem, ...]) -> Failed:
    failure = Failure(category=Category.INVALID_ARGUMENTS, reason="INVALID_ARGUMENTS", message=told(problems), where=tool.name)
    return Failed(failure=failure)


def _denial(tool: Tool, ruling: Ruling) -> Failure:
    return Failure(category=Category.POLICY_DENIED, reason=ruling.reason, message=ruling.message[:_MAX_MESSAGE_CHARS], where=tool.name)


def _denied(tool: Tool, reason: str, message: str) -> Failed:
    return Failed(failure=Failure(category=Category.POLICY_DENIED, reason=reason, message=message, where=tool.name))
