"""Errors over HTTP have a status, a stable reason, and stand in the tree that the module draws."""

import inspect

import orjson
import pytest
from plimsoll_gateway import errors
from plimsoll_gateway.transport.problems import FINER, STATUS, TITLES, hidden, problem_of
from plimsoll_runtime.errors import BY_KIND, ErrorKind, FieldProblem, Internal, PlimsollError

LEAVES = [leaf for _, leaf in inspect.getmembers(errors, inspect.isclass) if leaf.__module__ == errors.__name__]


def test_every_kind_of_error_has_a_status_and_a_title():
    assert set(STATUS) == set(TITLES) == set(ErrorKind)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_error_stands_in_the_tree_with_its_status(leaf: type[PlimsollError]):
    line = next(line for line in (errors.__doc__ or "").splitlines() if leaf.__name__ in line)
    assert str(FINER.get(leaf, STATUS[leaf.kind])) in line


def test_reasons_are_unique():
    reasons = [leaf.reason for leaf in LEAVES]
    assert len(reasons) == len(set(reasons))
    assert not set(reasons) & {leaf.reason for leaf in BY_KIND.values()}


def test_a_problem_says_what_where_and_what_to_do():
    error = errors.TooManyInFlight("full", problems=[FieldProblem("a.b", "is wrong", "mend it")], remedy="wait", retry_after_s=0.2)
    problem = problem_of(error, "abc")
    assert orjson.loads(problem.body) == {
        "type": "urn:plimsoll:reason:TOO_MANY_IN_FLIGHT",
        "title": "A limit is reached",
        "status": 429,
        "detail": "full",
        "reason": "TOO_MANY_IN_FLIGHT",
        "code": "RESOURCE_EXHAUSTED",
        "retryable": True,
        "retryAfter": 0.2,
        "remedy": "wait",
        "traceId": "abc",
        "violations": [{"field": "a.b", "problem": "is wrong", "remedy": "mend it"}],
    }
    assert problem.headers["Retry-After"] == "1"


def test_a_fault_of_ours_is_hidden_and_a_refusal_is_not():
    assert hidden(Internal("secret words", reason="R")).message == "A fault on our side."
    refusal = errors.NoSuchPath()
    assert hidden(refusal) is refusal
