"""What a provider's refusal means: each is classified once, here, into a category, a reason and what may help."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.errors import ProviderError, Remedy

_RETRY_CAP_S = 3600.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# By the provider's own word first: it says more than the status. Both dialects' words, and those of compatible servers.
_BY_CODE: dict[str, tuple[Category, str, Remedy]] = {
    "context_length_exceeded": (Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
    "request_too_large": (Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
    "insufficient_quota": (Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_PROVIDER),
    "billing_error": (Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_PROVIDER),
    "authentication_error": (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
    "invalid_api_key": (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
    "permission_error": (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
    "model_not_found": (Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER),
    "not_found_error": (Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER),
    "content_policy_violation": (Category.MODEL_REFUSED, "REFUSED", Remedy.NEVER),
    "content_filter": (Category.MODEL_REFUSED, "REFUSED", Remedy.NEVER),
    "rate_limit_error": (Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY),
    "rate_limit_exceeded": (Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY),
    "overloaded_error": (Category.UPSTREAM_UNAVAILABLE, "OVERLOADED", Remedy.NEXT_PROVIDER),
    "api_error": (Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
    "server_error": (Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
    "timeout_error": (Category.TIMEOUT, "PROVIDER_TIMEOUT", Remedy.NEXT_PROVIDER),
}
_BY_STATUS: dict[int, tuple[Category, str, Remedy]] = {
    401: (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
    402: (Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_PROVIDER),
    403: (Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
    404: (Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER),
    408: (Category.TIMEOUT, "PROVIDER_TIMEOUT", Remedy.NEXT_PROVIDER),
    413: (Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
    429: (Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY),
    529: (Category.UPSTREAM_UNAVAILABLE, "OVERLOADED", Remedy.NEXT_PROVIDER),
}
# Compatible servers tell an overlong prompt in words only.
_TOO_LONG = re.compile(r"context (?:length|window|size)|maximum context|prompt is too long|too many tokens", re.IGNORECASE)


def refused(where: str, status: int, *, code: str = "", message: str = "", retry_after_s: float | None = None) -> ProviderError:
    """The error for an answer with an error status, or with an error inside. The provider's own message is read, never passed on:
    it may repeat the prompt."""
    known = _BY_CODE.get(code)
    if known is None and status in {0, 400, 422} and _TOO_LONG.search(message):
        known = _BY_CODE["context_length_exceeded"]
    known = known or _BY_STATUS.get(status)
    if known is None and 400 <= status < 500:
        known = (Category.UPSTREAM_REJECTED, "INVALID_REQUEST", Remedy.NEVER)
    category, reason, remedy = known or (Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY)
    told = f" ({code})" if _CODE.fullmatch(code) else ""
    answered = f"answered {status}{told}" if status else f"answered with an error{told}"
    return _error(where, category, reason, answered, remedy, retry_after_s=retry_after_s)


def unreachable(where: str) -> ProviderError:
    return _error(where, Category.UPSTREAM_UNAVAILABLE, "UNREACHABLE", "cannot be reached", Remedy.RETRY)


def broken(where: str, usage: Usage | None = None) -> ProviderError:
    """The connection ended in the middle of an answer."""
    return _error(where, Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT", "ended the answer before its end", Remedy.RETRY, usage=usage)


def malformed(where: str, what: str, usage: Usage | None = None) -> ProviderError:
    """The answer is not in the provider's own format."""
    return _error(where, Category.MODEL_MALFORMED, "MALFORMED_ANSWER", f"sent a malformed answer: {what}", Remedy.RETRY, usage=usage)


def not_json(where: str, content_type: str) -> ProviderError:
    """Something else than the provider's API answered, such as a proxy with an HTML page."""
    kind = content_type.partition(";")[0].strip() or "no content type"
    return _error(where, Category.UPSTREAM_UNAVAILABLE, "NOT_JSON", f"answered something that is not JSON ({kind})", Remedy.NEXT_PROVIDER)


def late(where: str, reason: str, what: str, usage: Usage | None = None) -> ProviderError:
    """One of the timers ran out; a silent route is left, not tried again."""
    return _error(where, Category.TIMEOUT, reason, what, Remedy.NEXT_PROVIDER, usage=usage)


def unsupported(where: str, what: str) -> ProviderError:
    """The question holds something that this provider cannot be asked."""
    return _error(where, Category.UPSTREAM_REJECTED, "UNSUPPORTED", f"cannot be asked this: {what}", Remedy.NEXT_PROVIDER)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The pause that a provider asks for: in milliseconds, in seconds, or until a date (by the provider's own clock if it tells it)."""
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(lowered[name]) / scale
        except (KeyError, ValueError):
            continue
        return min(max(0.0, seconds), _RETRY_CAP_S) if seconds == seconds else None  # noqa: PLR0124 - not a number
    until, base = _date(lowered.get("retry-after", "")), _date(lowered.get("date", "")) or now
    return min(max(0.0, (until - base).total_seconds()), _RETRY_CAP_S) if until is not None else None


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _error(
    where: str,
    category: Category,
    reason: str,
    what: str,
    remedy: Remedy,
    *,
    retry_after_s: float | None = None,
    usage: Usage | None = None,
) -> ProviderError:
    helps = remedy in {Remedy.RETRY, Remedy.NEXT_PROVIDER} and category is not Category.UPSTREAM_REJECTED
    failure = Failure(
        category=category, reason=reason, message=f"{where} {what}", retryable=helps, retry_after_s=retry_after_s, where=where
    )
    return ProviderError(failure, remedy, usage=usage)
