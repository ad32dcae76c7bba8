"""Every case of the catalogue is answered: by tests that are there, by a reason, or openly by nothing."""

import catalogue
from named_tests import missing

OPEN_AT_MOST = 0


def test_every_case_is_told_once_and_in_order():
    assert [case.id for case in catalogue.cases()] == catalogue.expected_ids()


def test_every_case_has_tests_or_a_reason_or_says_that_it_is_open():
    assert [case.id for case in catalogue.cases() if not (case.tests or case.reason or case.open)] == []


def test_every_named_test_is_there():
    assert missing(test for case in catalogue.cases() for test in case.tests) == []


def test_the_number_of_open_cases_only_falls():
    """Whoever closes one lowers the bound; nobody raises it."""
    assert len([case.id for case in catalogue.cases() if case.open]) == OPEN_AT_MOST


def test_the_document_is_that_of_the_source():
    assert catalogue.DOCUMENT.read_text() == catalogue.document(catalogue.cases()), "write it anew: python tests/contract/catalogue.py"
