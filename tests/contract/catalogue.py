"""tests/CATALOGUE.md: every case of faults and attacks and what answers it, made from catalogue.yaml by `python tests/contract/catalogue.py`."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from named_tests import ROOT, link

DOCUMENT = ROOT / "tests" / "CATALOGUE.md"
FAMILIES = {
    "T": ("Schemas and registration of tools", 12),
    "X": ("Execution", 15),
    "B": ("Breakers, limits, backpressure", 10),
    "A": ("Approvals and policy", 10),
    "I": ("Tenants and identity", 10),
    "S": ("Requests that leave the house", 6),
    "N": ("Storage, messages, processes", 10),
    "G": ("Streams and interface", 4),
    "M": ("Memory and retrieval", 7),
}
_SOURCE = Path(__file__).with_name("catalogue.yaml")
_FIELDS = {"case", "tests", "reason", "open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: the tests that prove it, why it or a part of it cannot arise, what nothing proves yet."""

    id: str
    statement: str
    tests: Sequence[str]
    reason: str
    open: str


def cases() -> list[Case]:
    """All cases of the source. Raises ValueError for a field that no case has."""
    found = []
    for case_id, fields in yaml.safe_load(_SOURCE.read_text()).items():
        if unknown := fields.keys() - _FIELDS:
            raise ValueError(f"{case_id}: no case has {', '.join(sorted(unknown))}; the fields are {', '.join(sorted(_FIELDS))}")
        found.append(
            Case(
                id=case_id,
                statement=fields["case"],
                tests=tuple(fields.get("tests", ())),
                reason=fields.get("reason", ""),
                open=fields.get("open", ""),
            )
        )
    return found


def expected_ids() -> list[str]:
    return [f"{letter}{number:02}" for letter, (_, count) in FAMILIES.items() for number in range(1, count + 1)]


def document(told: Sequence[Case]) -> str:
    """The whole document."""
    still_open = [case for case in told if case.open]
    lines = [
        "# Catalogue of faults and attacks",
        "",
        f"{len(told)} cases. {len(told) - len(still_open)} are answered whole, by tests or by the reason why they cannot arise; "
        f"{len(still_open)} have something open, listed first. A name of a test leads to its file; a test written for several adapters counts "
        "for each. Made from `tests/contract/catalogue.yaml` by `python tests/contract/catalogue.py`; a test compares it with the code.",
        "",
        f"## Open ({len(still_open)})",
        "",
        "| case | open |",
        "| --- | --- |",
        *(f"| {case.id} | {_cell(case.open)} |" for case in still_open),
    ]
    for letter, (title, _) in FAMILIES.items():
        lines += ["", f"## {title}", "", "| case | what must hold | shown by |", "| --- | --- | --- |"]
        lines += [f"| {case.id} | {_cell(case.statement)} | {_cell(_shown(case))} |" for case in told if case.id.startswith(letter)]
    return "\n".join(lines) + "\n"


def _shown(case: Case) -> str:
    parts = [link(test, DOCUMENT.parent) for test in case.tests]
    told = [", ".join(parts)] if parts else []
    told += [case.reason] if case.reason else []
    told += [f"**Open:** {case.open}"] if case.open else []
    return "<br>".join(told)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def main() -> int:
    DOCUMENT.write_text(document(cases()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
