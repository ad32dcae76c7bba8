"""What redaction promises: nothing of the known kinds stays, and nothing else goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_feedback.domain.learning.redaction import OwnPattern, problems_of, redact

SECRETS = {
    "ada.lovelace+x@example.co.uk": "[email]",
    "grüße@müller.de": "[email]",
    "+44 20 7946 0958": "[phone]",
    "(030) 1234-5678": "[phone]",
    "4111 1111 1111 1111": "[card]",
    "5500005555555559": "[card]",
    "DE89 3704 0044 0532 0130 00": "[iban]",
    "GB82WEST12345698765432": "[iban]",
    "192.168.17.4": "[ip]",
    "2001:db8::ff00:42:8329": "[ip]",
    "sk-live_abcdefghijklmnop1234": "[key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "Bearer abcdefghijklmnop.qrstuv": "[key]",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4": "[key]",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----": "[key]",
}
HARMLESS = [
    "My order 12345 came on 2026-01-02 at 12:30:45",
    "I paid 1,234.56 and got 99 back",
    "version 1.2.3 of the app",
    "4111 1111 1111 1112",
    "call me maybe @ home",
    "why is my PIN 4 digits long?",
]


@pytest.mark.parametrize(("secret", "kind"), SECRETS.items())
def test_every_known_kind_is_replaced_by_its_name(secret: str, kind: str) -> None:
    assert redact(f"it is {secret}, thanks") == f"it is {kind}, thanks"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert redact(text) == text


def test_it_reaches_into_keys_lists_and_numbers() -> None:
    value = {"to": ["ada@example.org", {"ada@example.org": 4111111111111111, "n": 3, "on": True, "f": 1.5, "none": None}]}
    assert redact(value) == {"to": ["[email]", {"[email]": "[card]", "n": 3, "on": True, "f": 1.5, "none": None}]}


def test_own_patterns_come_beside_the_built_in_ones() -> None:
    own = (OwnPattern(name="order", pattern=r"\bORD-\d+\b"),)
    assert redact("ORD-77 of ada@example.org", own) == "[order] of [email]"
    assert list(problems_of(own)) == []


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [(r"(a)\1", "no such expression"), (r"(?=a)b", "no such expression"), ("(", "no such expression"), ("a*", "empty text"), ("", "empty")],
)
def test_a_pattern_that_cannot_be_is_refused_with_its_place(pattern: str, problem: str) -> None:
    [found] = problems_of((OwnPattern(name="own", pattern=pattern),))
    assert found.field == "dataset.redactions[0].pattern"
    assert problem in found.problem
    assert found.remedy


def test_a_hostile_pattern_and_text_take_no_time_to_speak_of() -> None:
    own = (OwnPattern(name="own", pattern="(a+)+b"),)
    assert redact("a" * 100_000, own) == "a" * 100_000


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
