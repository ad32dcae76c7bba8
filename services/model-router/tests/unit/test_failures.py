"""Refusals of providers are classified once, and their pauses are read in all their forms."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.errors import Remedy
from plimsoll_runtime.failures import Category

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "told", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, "", 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 13:00:30 GMT", "date": "Thu, 01 Jan 2026 13:00:00 GMT"}, "", 30.0),  # a clock an hour off
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, "", 0.0),
        ({}, "12.5s", 12.5),
        ({"retry-after": "3"}, "12s", 3.0),
        ({}, "soon", None),
        ({"retry-after": "-3"}, "", 0.0),
        ({"retry-after": "99999999"}, "", 3600.0),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({}, "", None),
    ],
)
def test_the_pause_is_read_in_every_form(headers: dict[str, str], told: str, seconds: float | None) -> None:
    assert failures.retry_after_s(headers, NOW, told) == seconds


@given(st.text(), st.text(), st.text())
def test_no_pause_however_told_is_negative_endless_or_an_error(milliseconds: str, seconds: str, told: str) -> None:
    found = failures.retry_after_s({"retry-after-ms": milliseconds, "retry-after": seconds, "date": told}, NOW, told)
    assert found is None or 0 <= found <= 3600


@pytest.mark.parametrize(
    ("status", "code", "message", "reason", "remedy"),
    [
        (429, "insufficient_quota", "", "QUOTA_USED_UP", Remedy.NEXT_CREDENTIAL),
        (429, "", "", "RATE_LIMITED", Remedy.RETRY),
        (400, "invalid_request_error", "This model's maximum context length is 8192 tokens", "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
        (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum", "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
        (400, "invalid_request_error", "temperature is out of range", "INVALID_REQUEST", Remedy.NEVER),
        (
            400,
            "invalid_request_error",
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            "REASONING_REFUSED",
            Remedy.WITHOUT_REASONING,
        ),
        (
            400,
            "invalid_request_error",
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
            "REASONING_REFUSED",
            Remedy.WITHOUT_REASONING,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "Function call is missing a thought_signature in functionCall parts.",
            "REASONING_REFUSED",
            Remedy.WITHOUT_REASONING,
        ),
        (400, "invalid_encrypted_content", "", "REASONING_REFUSED", Remedy.WITHOUT_REASONING),
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "KEY_REFUSED", Remedy.NEXT_CREDENTIAL),
        (400, "content_filter", "", "REFUSED", Remedy.NEVER),
        (503, "", "", "PROVIDER_ERROR", Remedy.RETRY),
        (504, "", "", "PROVIDER_TIMEOUT", Remedy.NEXT_PROVIDER),
        (529, "", "", "OVERLOADED", Remedy.NEXT_PROVIDER),
        (418, "", "", "INVALID_REQUEST", Remedy.NEVER),
        (302, "", "", "PROVIDER_ERROR", Remedy.RETRY),
        (0, "overloaded_error", "", "OVERLOADED", Remedy.NEXT_PROVIDER),
        (0, "", "", "PROVIDER_ERROR", Remedy.RETRY),
    ],
)
def test_the_providers_own_word_weighs_more_than_the_status(status: int, code: str, message: str, reason: str, remedy: Remedy) -> None:
    error = failures.refused("p/m", status, code=code, message=message)
    assert (error.failure.reason, error.remedy) == (reason, remedy)


def test_the_providers_message_is_never_passed_on() -> None:
    error = failures.refused("p/m", 400, code="bad <code> with the prompt", message="You wrote: my secret prompt")
    assert "secret" not in error.failure.message
    assert "prompt" not in error.failure.message


def test_refused_thinking_is_an_invalid_request_when_none_was_sent() -> None:
    error = failures.without_reasoning_sent(failures.refused("p/m", 400, code="invalid_encrypted_content"))
    assert (error.failure.category, error.failure.reason, error.remedy) == (Category.UPSTREAM_REJECTED, "INVALID_REQUEST", Remedy.NEVER)
    other = failures.refused("p/m", 503)
    assert failures.without_reasoning_sent(other) is other
