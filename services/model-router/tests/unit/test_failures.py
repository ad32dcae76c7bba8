"""Refusals of providers are classified once, and their pauses are read in all their forms."""

from datetime import UTC, datetime

import pytest
from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.errors import Remedy
from plimsoll_runtime.failures import Category

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"Retry-After": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Thu, 01 Jan 2026 13:00:30 GMT", "Date": "Thu, 01 Jan 2026 13:00:00 GMT"}, 30.0),  # a clock an hour off
        ({"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "99999999"}, 3600.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pause_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert failures.retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "code", "message", "category", "remedy"),
    [
        (429, "insufficient_quota", "", Category.UPSTREAM_REJECTED, Remedy.NEXT_PROVIDER),
        (429, "", "", Category.RATE_LIMITED, Remedy.RETRY),
        (
            400,
            "invalid_request_error",
            "This model's maximum context length is 8192 tokens",
            Category.CONTEXT_TRUNCATED,
            Remedy.LARGER_CONTEXT,
        ),
        (400, "invalid_request_error", "temperature is out of range", Category.UPSTREAM_REJECTED, Remedy.NEVER),
        (400, "content_filter", "", Category.MODEL_REFUSED, Remedy.NEVER),
        (503, "", "", Category.UPSTREAM_UNAVAILABLE, Remedy.RETRY),
        (529, "", "", Category.UPSTREAM_UNAVAILABLE, Remedy.NEXT_PROVIDER),
        (418, "", "", Category.UPSTREAM_REJECTED, Remedy.NEVER),
        (302, "", "", Category.UPSTREAM_UNAVAILABLE, Remedy.RETRY),
        (0, "overloaded_error", "", Category.UPSTREAM_UNAVAILABLE, Remedy.NEXT_PROVIDER),
    ],
)
def test_the_providers_own_word_weighs_more_than_the_status(
    status: int, code: str, message: str, category: Category, remedy: Remedy
) -> None:
    error = failures.refused("p/m", status, code=code, message=message)
    assert (error.failure.category, error.remedy) == (category, remedy)


def test_the_providers_message_is_never_passed_on() -> None:
    error = failures.refused("p/m", 400, code="bad <code> with the prompt", message="You wrote: my secret prompt")
    assert "secret" not in error.failure.message
    assert "prompt" not in error.failure.message
