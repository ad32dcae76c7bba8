"""What happens when a dependency fails is told for every one, four times, with the tests that show it, and from what the plans are now."""

import dependency_table
from named_tests import missing

OPEN_AT_MOST = 0


def test_every_dependency_is_told_slow_down_wrong_and_lying_and_every_plan_has_a_row():
    assert dependency_table.problems(dependency_table.rows()) == []


def test_every_named_test_is_there():
    assert missing(test for row in dependency_table.rows() for way in row.ways for test in way.tests) == []


def test_the_number_of_open_cases_only_falls():
    """Whoever closes one lowers the bound; nobody raises it."""
    assert len([way for row in dependency_table.rows() for way in row.ways if way.open]) == OPEN_AT_MOST


def test_every_result_is_of_a_plan_or_a_part_that_there_is():
    told = dependency_table.rows()
    known = {plan for row in told for plan in row.plans} | {f"killed {part}" for row in told for part in row.parts} | {"everything"}
    assert dependency_table.results()[0].keys() <= known


def test_the_document_is_that_of_the_rows_and_the_last_results():
    written = dependency_table.document(dependency_table.rows(), *dependency_table.results())
    assert dependency_table.DOCUMENT.read_text() == written, "write it anew: python tests/contract/dependency_table.py"


def test_the_readme_has_the_last_results():
    text = dependency_table.README.read_text()
    assert text == dependency_table.readme(text, *dependency_table.results()), "write it anew: python tests/contract/dependency_table.py"
