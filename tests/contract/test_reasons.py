"""One vocabulary of errors: the table of reasons is that of the code, and a reason means one status everywhere."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("contract_reasons", Path(__file__).with_name("reasons.py"))
assert _spec is not None
assert _spec.loader is not None
told = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = told
_spec.loader.exec_module(told)


def test_the_table_is_that_of_the_code():
    assert told.TABLE.read_text() == told.table(), "write it anew: python tests/contract/reasons.py"


def test_reasons_are_upper_snake_words():
    for reason in told.reasons():
        assert reason.replace("_", "").isalnum(), reason
        assert reason == reason.upper(), reason
