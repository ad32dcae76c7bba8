"""How attempts at remote tools end: as values, honest about whether they may have acted, and without a secret in them."""

from datetime import datetime

from plimsoll_runtime.egress import EgressRefused, HostUnknown
from plimsoll_runtime.errors import DeadlineExpired, PlimsollError
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.outbound_http import AnswerTooLate, AnswerUnfit, ConnectionBroken, RequestUnfit, Unreachable
from plimsoll_runtime.retry import retry_after_s

from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import plain_text
from plimsoll_tool_dispatcher.domain.tool import Tool

_MESSAGE_CHARS = 500
_NOT_ACTED = frozenset({408, 425, 429})
_ELSEWHERE = frozenset({302, 303})  # some servers act first and then send the client on


def stopped(
    tool: Tool, category: Category, reason: str, message: str, mishap: Mishap | None = None, retry_after: float | None = None
) -> Stopped:
    """The attempt did not bring a result."""
    told = plain_text(message).strip()[:_MESSAGE_CHARS]
    failure = Failure(category=category, reason=reason, message=told, retry_after_s=retry_after, where=tool.name)
    return Stopped(failure=failure, mishap=mishap)


def gone(tool: Tool, what: str) -> Stopped:
    """The source, or the tool in it, is not there any more."""
    return stopped(tool, Category.UNKNOWN_TOOL, "SOURCE_GONE", f"{what} is not there", Mishap.REFUSED)


def changed(tool: Tool) -> Stopped:
    """The source means something else by the tool than when it was approved."""
    message = "its definition at the source is not the one that was approved"
    return stopped(tool, Category.POLICY_DENIED, "DEFINITION_CHANGED", message)


def after_error(tool: Tool, error: PlimsollError) -> Stopped:
    """What an outgoing call raised."""
    match error:
        case EgressRefused():
            return stopped(tool, Category.POLICY_DENIED, error.reason, error.message)
        case HostUnknown() | Unreachable():
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message, Mishap.REFUSED)
        case ConnectionBroken():
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message, Mishap.LOST)
        case AnswerTooLate(sent=sent):
            return stopped(tool, Category.TIMEOUT, "TOOL_TIMEOUT", error.message, Mishap.LOST if sent else Mishap.REFUSED)
        case DeadlineExpired():
            return stopped(tool, Category.TIMEOUT, "NO_TIME_LEFT", error.message, Mishap.REFUSED)
        case RequestUnfit():
            return stopped(tool, Category.INVALID_ARGUMENTS, error.reason, error.message)
        case AnswerUnfit():
            return stopped(tool, Category.MALFORMED_RESULT, error.reason, error.message)
    return stopped(tool, Category.TOOL_ERROR, error.reason, "the call failed", Mishap.LOST)


def after_status(tool: Tool, status: int, retry_after: str | None, told: str, now: datetime) -> Stopped:
    """An HTTP answer that is no success; what it says is kept, because nothing else explains it."""
    asked_s = retry_after_s(retry_after, now)
    reason, message = f"HTTP_{status}", f"the upstream answered {status}" + (f": {told}" if told else "")
    if status == 429:
        return stopped(tool, Category.RATE_LIMITED, reason, message, Mishap.NOT_ACTED, asked_s)
    if status in _NOT_ACTED or (status == 503 and asked_s is not None):
        return stopped(tool, Category.UPSTREAM_UNAVAILABLE, reason, message, Mishap.NOT_ACTED, asked_s)
    if status >= 500 or status in _ELSEWHERE:
        return stopped(tool, Category.UPSTREAM_UNAVAILABLE, reason, message, Mishap.LOST, asked_s)
    return stopped(tool, Category.UPSTREAM_REJECTED, reason, message)
