"""What a provider's refusal means: each is classified once, here, into a category, a reason and what may help."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TypeAlias

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.errors import ProviderError, Remedy

_RETRY_CAP_S = 3600.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_Meaning: TypeAlias = tuple[Category, str, Remedy]

_TOO_LONG: _Meaning = (Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT)
_QUOTA: _Meaning = (Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_CREDENTIAL)
_KEY: _Meaning = (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_CREDENTIAL)
_NO_MODEL: _Meaning = (Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER)
_REFUSED: _Meaning = (Category.MODEL_REFUSED, "REFUSED", Remedy.NEVER)
_LIMITED: _Meaning = (Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY)
_OVERLOADED: _Meaning = (Category.UPSTREAM_UNAVAILABLE, "OVERLOADED", Remedy.NEXT_PROVIDER)
_BROKEN: _Meaning = (Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY)
_LATE: _Meaning = (Category.TIMEOUT, "PROVIDER_TIMEOUT", Remedy.NEXT_PROVIDER)
_INVALID: _Meaning = (Category.UPSTREAM_REJECTED, "INVALID_REQUEST", Remedy.NEVER)
_REASONING: _Meaning = (Category.UPSTREAM_REJECTED, "REASONING_REFUSED", Remedy.WITHOUT_REASONING)

# By the provider's own word first: it says more than the status. The words of all dialects, and those of compatible servers.
_BY_CODE: Mapping[str, _Meaning] = MappingProxyType(
    {
        "context_length_exceeded": _TOO_LONG,
        "request_too_large": _TOO_LONG,
        "insufficient_quota": _QUOTA,
        "billing_error": _QUOTA,
        "billing_hard_limit_reached": _QUOTA,
        "authentication_error": _KEY,
        "invalid_api_key": _KEY,
        "permission_error": _KEY,
        "UNAUTHENTICATED": _KEY,
        "PERMISSION_DENIED": _KEY,
        "API_KEY_INVALID": _KEY,
        "model_not_found": _NO_MODEL,
        "not_found_error": _NO_MODEL,
        "NOT_FOUND": _NO_MODEL,
        "content_policy_violation": _REFUSED,
        "content_filter": _REFUSED,
        "invalid_prompt": _REFUSED,  # Responses: the prompt breaks the provider's usage policy
        "bio_policy": _REFUSED,
        "misalignment_policy_violation": _REFUSED,
        "image_content_policy_violation": _REFUSED,
        "invalid_encrypted_content": _REASONING,
        "rate_limit_error": _LIMITED,
        "rate_limit_exceeded": _LIMITED,
        "RESOURCE_EXHAUSTED": _LIMITED,
        "overloaded_error": _OVERLOADED,
        "api_error": _BROKEN,
        "server_error": _BROKEN,
        "INTERNAL": _BROKEN,
        "UNAVAILABLE": _BROKEN,
        "timeout_error": _LATE,
        "DEADLINE_EXCEEDED": _LATE,
    }
)
_BY_STATUS: Mapping[int, _Meaning] = MappingProxyType(
    {
        401: _KEY,
        402: _QUOTA,
        403: _KEY,
        404: _NO_MODEL,
        408: _LATE,
        413: _TOO_LONG,
        429: _LIMITED,
        504: _LATE,
        529: _OVERLOADED,
    }
)
# Some things are told in words only.
_BY_WORDS: tuple[tuple[re.Pattern[str], _Meaning], ...] = (
    (
        re.compile(
            r"context (?:length|window|size)|maximum context|prompt is too long|too many tokens|token count.{0,40}exceed", re.IGNORECASE
        ),
        _TOO_LONG,
    ),
    (
        re.compile(
            r"thought.?signature|`?signature`? in .{0,20}thinking|thinking.{0,60}(?:cannot be modified|must start with)|encrypted content",
            re.IGNORECASE,
        ),
        _REASONING,
    ),
    (re.compile(r"expected `?thinking`? or `?redacted_thinking", re.IGNORECASE), _REASONING),
    (re.compile(r"api key not valid|credit balance is too low", re.IGNORECASE), _KEY),
)


def refused(
    where: str, status: int, *, code: str = "", message: str = "", retry_after_s: float | None = None, usage: Usage | None = None
) -> ProviderError:
    """The error for an answer with an error status, or with an error inside. The provider's own message is read, never passed on:
    it may repeat the prompt."""
    category, reason, remedy = _meaning(status, code, message)
    told = f" ({code})" if _CODE.fullmatch(code) else ""
    answered = f"answered {status}{told}" if status else f"answered with an error{told}"
    return _error(where, (category, reason, remedy), answered, retry_after_s=retry_after_s, usage=usage)


def unreachable(where: str) -> ProviderError:
    meaning = (Category.UPSTREAM_UNAVAILABLE, "UNREACHABLE", Remedy.RETRY)
    return _error(where, meaning, "cannot be reached", sent=False)


def not_connected(where: str) -> ProviderError:
    """The connection was not accepted in time."""
    meaning = (Category.TIMEOUT, "CONNECT_TIMEOUT", Remedy.NEXT_PROVIDER)
    return _error(where, meaning, "did not accept the connection in time", sent=False)


def broken(where: str, usage: Usage | None = None) -> ProviderError:
    """The connection ended in the middle of an answer."""
    return _error(where, (Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT", Remedy.RETRY), "ended the answer before its end", usage=usage)


def malformed(where: str, what: str, usage: Usage | None = None) -> ProviderError:
    """The answer is not in the provider's own format."""
    meaning = (Category.MODEL_MALFORMED, "MALFORMED_ANSWER", Remedy.RETRY)
    return _error(where, meaning, f"sent a malformed answer: {what}", usage=usage)


def not_json(where: str, content_type: str) -> ProviderError:
    """Something else than the provider's API answered, such as a proxy with an HTML page."""
    kind = content_type.partition(";")[0].strip() or "no content type"
    meaning = (Category.UPSTREAM_UNAVAILABLE, "NOT_JSON", Remedy.NEXT_PROVIDER)
    return _error(where, meaning, f"answered something that is not JSON ({kind})")


def late(where: str, reason: str, what: str, *, sent: bool = True) -> ProviderError:
    """One of the timers ran out; a silent route is left, not tried again."""
    return _error(where, (Category.TIMEOUT, reason, Remedy.NEXT_PROVIDER), what, sent=sent)


def unsupported(where: str, what: str) -> ProviderError:
    """The question holds something that this provider cannot be asked."""
    meaning = (Category.UPSTREAM_REJECTED, "UNSUPPORTED", Remedy.NEXT_PROVIDER)
    return _error(where, meaning, f"cannot be asked this: {what}", sent=False)


def unsendable(where: str) -> ProviderError:
    """The client library refuses the request itself: a key or another header with line breaks in it."""
    return _error(where, _KEY, "has a key, or another header, that cannot be sent", sent=False)


def billed(error: ProviderError, usage: Usage) -> ProviderError:
    """The same error, with what came before it."""
    return ProviderError(error.failure, error.remedy, usage=usage, sent=error.sent)


def without_reasoning_sent(error: ProviderError) -> ProviderError:
    """For a question that held no earlier thinking: then it cannot be its fault, and trying without it is no help."""
    if error.remedy is not Remedy.WITHOUT_REASONING:
        return error
    return _error(error.failure.where, _INVALID, "refused the request", usage=error.usage)


def retry_after_s(headers: Mapping[str, str], now: datetime, told: str = "") -> float | None:
    """The pause that a provider asks for: in milliseconds, in seconds, until a date (by the provider's own clock if it tells it), or
    in the body, `told` as `12.5s`. Header names are in lower case."""
    for text, scale in ((headers.get("retry-after-ms", ""), 1000.0), (headers.get("retry-after", ""), 1.0), (told.removesuffix("s"), 1.0)):
        seconds = _number(text)
        if seconds is not None:
            return min(max(0.0, seconds / scale), _RETRY_CAP_S)
    until, base = _date(headers.get("retry-after", "")), _date(headers.get("date", "")) or now
    return min(max(0.0, (until - base).total_seconds()), _RETRY_CAP_S) if until is not None else None


def _meaning(status: int, code: str, message: str) -> _Meaning:
    known = _BY_CODE.get(code)
    if known is None and status in {0, 400, 422, 500}:
        known = next((meaning for words, meaning in _BY_WORDS if words.search(message)), None)
    known = known or _BY_STATUS.get(status)
    if known is None and 400 <= status < 500:
        return _INVALID
    return known or _BROKEN


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _error(
    where: str,
    meaning: _Meaning,
    what: str,
    *,
    retry_after_s: float | None = None,
    usage: Usage | None = None,
    sent: bool = True,
) -> ProviderError:
    category, reason, remedy = meaning
    helps = remedy not in {Remedy.NEVER, Remedy.LARGER_CONTEXT} and category is not Category.UPSTREAM_REJECTED
    failure = Failure(
        category=category, reason=reason, message=f"{where} {what}", retryable=helps, retry_after_s=retry_after_s, where=where
    )
    return ProviderError(failure, remedy, usage=usage, sent=sent)
