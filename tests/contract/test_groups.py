"""Tests that share servers are given to one process, and not to several that would disturb each other."""

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_a_group_of_tests_stays_together(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all")
    assert request.node.nodeid.endswith("@groups"), (
        "pytest-xdist does not see groups: is --dist loadgroup given, and does this pytest go with it?"
    )
