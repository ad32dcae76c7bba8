"""Errors by kind, out of groups, and to the wire and back."""

import asyncio
import pickle

import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.common.v1 import failure_pb2
from plimsoll_runtime.errors import (
    BY_KIND,
    DeadlineExpired,
    Denied,
    ErrorKind,
    FieldProblem,
    Internal,
    Invalid,
    NotFound,
    PlimsollError,
    Unavailable,
    unwrap,
)
from plimsoll_runtime.failures import Category, Failure, failure_from_error, failure_from_proto, failure_to_proto
from plimsoll_runtime.status import CODES, error_from_status, known, status_of

short = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
reasons = st.from_regex(r"[A-Z][A-Z_]{0,20}", fullmatch=True)
seconds = st.integers(0, 10**12).map(lambda nanos: nanos / 1e9)
problems = st.lists(st.builds(FieldProblem, short, short, short), max_size=4)


class WidgetNotFound(NotFound):
    """No widget has this id.

    And more that is not for the caller.
    """

    reason = "WIDGET_NOT_FOUND"


# --- what an error says ------------------------------------------------------------------------------------------------------


def test_an_error_says_what_its_docstring_says_unless_told_otherwise():
    assert str(WidgetNotFound()) == "No widget has this id."
    assert str(WidgetNotFound("no widget 7")) == "no widget 7"
    assert (
        str(Invalid(problems=[FieldProblem("a", "is bad", "mend it"), FieldProblem("b", "is worse")])) == "a: is bad (mend it); b: is worse"
    )


def test_a_reason_given_is_of_that_error_alone():
    assert (Unavailable(reason="TIDE_IS_OUT").reason, Unavailable().reason) == ("TIDE_IS_OUT", "UNAVAILABLE")


def test_the_kinds_that_a_wait_may_mend_are_retryable():
    assert {kind for kind, error in BY_KIND.items() if error().retryable} == {ErrorKind.EXHAUSTED, ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT}


def test_every_kind_has_an_error_and_a_code():
    assert set(BY_KIND) == set(CODES) == set(ErrorKind)
    assert len(set(CODES.values())) == len(CODES)


def test_an_error_survives_the_way_to_another_process():
    sent = WidgetNotFound("no widget 7", problems=[FieldProblem("id", "is old")], remedy="make one", retry_after_s=2)
    got = pickle.loads(pickle.dumps(sent))
    assert (type(got), got.__dict__, str(got)) == (WidgetNotFound, sent.__dict__, str(sent))


# --- groups ------------------------------------------------------------------------------------------------------------------


def test_a_group_of_one_is_its_error_however_deep():
    error = WidgetNotFound()
    assert unwrap(ExceptionGroup("", [ExceptionGroup("", [ExceptionGroup("", [error])])])) is error
    assert unwrap(error) is error


@given(st.permutations([NotFound(), Denied(), Unavailable(), TimeoutError(), Internal("ours")]))
def test_a_fault_is_never_hidden_by_a_refusal(errors: list[Exception]):
    assert isinstance(unwrap(ExceptionGroup("", errors)), Internal)
    bug = KeyError("bug")
    assert unwrap(ExceptionGroup("", [*errors, ExceptionGroup("", [bug])])) is bug


def test_of_equals_the_first_counts():
    assert isinstance(unwrap(ExceptionGroup("", [Denied(), NotFound()])), Denied)


@pytest.mark.parametrize(
    ("error", "becomes"), [(TimeoutError("x"), DeadlineExpired), (KeyError("x"), Internal), (asyncio.InvalidStateError(), Internal)]
)
def test_an_error_of_others_becomes_one_of_ours_without_its_words(error: Exception, becomes: type[PlimsollError]):
    ours = known(ExceptionGroup("", [error]))
    assert (type(ours), ours.message) == (becomes, becomes().message)


# --- the wire ----------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(ErrorKind), short.filter(bool), reasons, problems, short, st.none() | seconds)
def test_an_error_comes_back_from_its_status_as_it_went(
    kind: ErrorKind, message: str, reason: str, problems: list[FieldProblem], remedy: str, retry_after_s: float | None
):
    sent = BY_KIND[kind](message, reason=reason, problems=problems, remedy=remedy, retry_after_s=retry_after_s)
    got = error_from_status(status_pb2.Status.FromString(status_of(sent).SerializeToString()))
    assert type(got) is type(sent)
    assert (got.message, got.reason, got.problems, got.remedy) == (sent.message, sent.reason, sent.problems, sent.remedy)
    assert got.retry_after_s == pytest.approx(sent.retry_after_s, abs=1e-6)


@given(
    st.text(max_size=3000),
    st.lists(st.builds(FieldProblem, st.text(max_size=600), st.text(max_size=900), st.text(max_size=600)), max_size=60),
)
def test_a_status_always_fits_the_trailers_and_keeps_its_reason(message: str, problems: list[FieldProblem]):
    status = status_of(Invalid(message, reason="GRAPH_INVALID", problems=problems, remedy=message, retry_after_s=1))
    assert len(status.message.encode()) * 3 + len(status.SerializeToString()) * 4 / 3 < 7500
    got = error_from_status(status)
    assert got.reason == "GRAPH_INVALID"
    assert len(got.problems) == len(problems) or got.problems[-1].problem == f"and {len(problems) - len(got.problems) + 1} more"


def test_a_status_of_somebody_else_keeps_its_kind():
    assert isinstance(error_from_status(status_pb2.Status(code=6, message="there already")), BY_KIND[ErrorKind.CONFLICT])
    assert type(error_from_status(status_pb2.Status(code=99, message="?"))) is Internal


# --- failures ----------------------------------------------------------------------------------------------------------------

failures = st.builds(
    Failure,
    category=st.sampled_from(Category),
    reason=reasons,
    message=short,
    retryable=st.booleans(),
    retry_after_s=st.none() | seconds,
    where=short,
)


@given(failures)
def test_a_failure_comes_back_from_the_wire_as_it_went(failure: Failure):
    got = failure_from_proto(failure_pb2.Failure.FromString(failure_to_proto(failure).SerializeToString()))
    assert got.retry_after_s == pytest.approx(failure.retry_after_s, abs=1e-6)
    assert [getattr(got, name) for name in ("category", "reason", "message", "retryable", "where")] == [
        getattr(failure, name) for name in ("category", "reason", "message", "retryable", "where")
    ]


def test_the_words_of_the_taxonomy_are_those_of_the_contract():
    ours = {f"FAILURE_CATEGORY_{category.name}" for category in Category}
    assert ours == set(failure_pb2.FailureCategory.keys()) - {"FAILURE_CATEGORY_UNSPECIFIED"}
    assert {category.value for category in Category} == {category.name.lower() for category in Category}


@pytest.mark.parametrize("category", [0, 999])
def test_a_category_that_we_do_not_know_is_internal_with_its_reason_kept(category: int):
    message = failure_pb2.Failure.FromString(b"\x08" + (b"\x00" if category == 0 else b"\xe7\x07") + b"\x12\x04NEWS")
    got = failure_from_proto(message)
    assert (got.category, got.reason) == (Category.INTERNAL, "NEWS")


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_error_of_a_call_is_a_failure_of_the_step_that_made_it(kind: ErrorKind):
    failure = failure_from_error(ExceptionGroup("", [BY_KIND[kind]("so", reason="WHY", retry_after_s=3)]), "memory")
    assert (failure.reason, failure.message, failure.where, failure.retry_after_s) == ("WHY", "so", "memory", 3)
    assert failure.retryable is BY_KIND[kind]().retryable
    expected = {
        ErrorKind.DENIED: Category.POLICY_DENIED,
        ErrorKind.NOT_FOUND: Category.UPSTREAM_REJECTED,
        ErrorKind.CONFLICT: Category.UPSTREAM_REJECTED,
        ErrorKind.EXHAUSTED: Category.RATE_LIMITED,
        ErrorKind.UNAVAILABLE: Category.UPSTREAM_UNAVAILABLE,
        ErrorKind.TIMEOUT: Category.TIMEOUT,
    }
    assert failure.category is expected.get(kind, Category.INTERNAL)


def test_an_unknown_error_is_a_failure_without_its_words():
    failure = failure_from_error(KeyError("the customer's address"), "tool")
    assert (failure.category, failure.message) == (Category.INTERNAL, "unexpected KeyError")
    assert failure_from_error(TimeoutError(), "tool").category is Category.TIMEOUT
