"""tests/DEPENDENCIES.md: what happens when each dependency fails, made from the plans' dependencies.yaml and their last results; and the
last results alone as a table in the README.

`python tests/contract/dependency_table.py` writes it anew; with the name of a file that `plimsoll audit --json` printed, what that audit
measured becomes the last results first.
"""

import datetime as dt
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from named_tests import ROOT, link
from plimsoll_devstack.chaos import packaged_plans

DOCUMENT = ROOT / "tests" / "DEPENDENCIES.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- outages: python tests/contract/dependency_table.py -->", "<!-- end of outages -->"
RESULTS = ROOT / "tests" / "chaos" / "results.json"
WAYS = ("slow", "down", "wrong", "lying")
PARTS = frozenset(
    {
        "gateway",
        "orchestrator-api",
        "orchestrator-worker-1",
        "tool-dispatcher",
        "model-router",
        "memory",
        "feedback",
        "postgres",
        "nats",
        "redis",
    }
)
_SOURCE = ROOT / "libs" / "devstack" / "src" / "plimsoll_devstack" / "plans" / "dependencies.yaml"
_TOLD = ("then", "seen", "recovers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to fail: what becomes of the work, what is seen, how it recovers, and what shows it; or why it cannot be, or what is open."""

    name: str
    told: Mapping[str, str]
    tests: Sequence[str]
    reason: str
    open: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one service does about one dependency."""

    service: str
    dependency: str
    plans: Sequence[str]
    parts: Sequence[str]
    ways: Sequence[Way]

    @property
    def name(self) -> str:
        return f"{self.service} → {self.dependency}"


def rows() -> list[Row]:
    """All rows of the source. Raises ValueError for a field that no row has."""
    found = []
    for service, dependencies in yaml.safe_load(_SOURCE.read_text()).items():
        for dependency, fields in dependencies.items():
            name = f"{service} → {dependency}"
            _known(name, fields, {*WAYS, "plans", "parts"})
            ways = [_way(f"{name}, {way}", way, fields[way]) for way in WAYS if way in fields]
            row = Row(service=service, dependency=dependency, plans=fields.get("plans", ()), parts=fields.get("parts", ()), ways=ways)
            found.append(row)
    return found


def problems(told: Sequence[Row]) -> list[str]:
    """Ways that are missing, or told without a word of what shows them; names of plans and parts that there are not, and plans without a row."""
    found = [f"{row.name} does not tell {way}" for row in told for way in WAYS if way not in {one.name for one in row.ways}]
    for row in told:
        for way in row.ways:
            if not (way.tests or way.reason or way.open):
                found.append(f"{row.name}, {way.name}: no test, no reason, nothing open")
            if not way.reason and any(not way.told[field] for field in _TOLD):
                found.append(f"{row.name}, {way.name}: says not all of {', '.join(_TOLD)}")
    plans = {plan for row in told for plan in row.plans}
    found += [f"there is no plan {plan}" for plan in sorted(plans - packaged_plans().keys())]
    found += [f"there is no part {part}" for part in sorted({part for row in told for part in row.parts} - PARTS)]
    return found + [f"the plan {plan} has no row" for plan in sorted(packaged_plans().keys() - plans - {"everything"})]


def document(told: Sequence[Row], results: Mapping[str, str], measured_at: str) -> str:
    """The whole document."""
    ways = [way for row in told for way in row.ways]
    still_open = [(row, way) for row in told for way in row.ways if way.open]
    lines = [
        "# What happens when a dependency fails",
        "",
        f"{len(told)} dependencies, each slow, down, wrong (it answers what makes no sense) or lying (it says what is not so): {len(ways)} cases, "
        f"of which {sum(bool(way.tests) for way in ways)} name the tests that show them and {len(still_open)} have something open. Every "
        "name of a test leads to its file. Made from the rows beside the fault plans "
        "(`libs/devstack/src/plimsoll_devstack/plans/dependencies.yaml`) by `python tests/contract/dependency_table.py`; a test compares it with "
        "the code.",
        "",
        f"What was measured was measured by `plimsoll audit` on {measured_at or 'no day yet'}: runs under a fault plan, or submitted while a part of "
        "the mesh was killed, and the time that the next run took. `plimsoll audit --json > FILE` and "
        "`python tests/contract/dependency_table.py FILE` measure anew.",
    ]
    if still_open:
        lines += ["", f"## Open ({len(still_open)})", "", *(f"- {row.name}, {way.name}: {way.open}" for row, way in still_open)]
    for service in dict.fromkeys(row.service for row in told):
        lines += ["", f"## {service}", *(line for row in told if row.service == service for line in _section(row, results))]
    return "\n".join(lines) + "\n"


def readme(text: str, results: Mapping[str, str], measured_at: str) -> str:
    """The README with the last results in their place. Raises ValueError when it has none."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"README.md has no place for the outages: {BEGIN} … {END}")
    table = [f"| {name} | {told} |" for name, told in sorted(results.items(), key=_lost_first)]
    lines = (
        "",
        "",
        f"| an outage, measured by `plimsoll audit` on {measured_at} | while 20 runs were under way |",
        "| --- | --- |",
        *table,
        "",
    )
    return before + BEGIN + "\n".join(lines) + END + after


def _lost_first(result: tuple[str, str]) -> tuple[bool, str]:
    return not result[0].startswith("killed "), result[0]


def results() -> tuple[dict[str, str], str]:
    """The last results, by plan or by `killed PART`, and the day they were measured."""
    if not RESULTS.exists():
        return {}, ""
    kept = json.loads(RESULTS.read_text())
    return kept["measured"], kept["at"]


def record(audit: Mapping[str, object], day: str) -> None:
    """Make what an audit measured the last results."""
    answers = audit["answers"]
    assert isinstance(answers, list)
    checks = [check for answer in answers if answer["dimension"] == "Resilience" for check in answer["checks"]]
    measured = {check["what"].partition(":")[0]: check["evidence"] for check in checks if check["outcome"] != "not measured"}
    RESULTS.write_text(json.dumps({"at": day, "measured": measured}, indent=1, sort_keys=True) + "\n")


def _section(row: Row, measured: Mapping[str, str]) -> Iterator[str]:
    yield from ("", f"### {row.dependency}", "")
    yield from ("| it is | what happens | the user sees | it recovers | shown by |", "| --- | --- | --- | --- | --- |")
    for way in row.ways:
        shown = [", ".join(link(test, DOCUMENT.parent) for test in way.tests)] if way.tests else []
        shown += [f"**Open:** {way.open}"] if way.open else []
        told = [way.told[field] for field in _TOLD]
        if way.reason:
            told = [f"Cannot arise: {way.reason}", "", ""]
        yield "| " + " | ".join(_cell(text) for text in (way.name, *told, "<br>".join(shown))) + " |"
    names = [*row.plans, *(f"killed {part}" for part in row.parts)]
    if lines := [f"- {name}: {measured[name]}" for name in names if name in measured]:
        yield from ("", "Measured:", "", *lines)


def _way(name: str, way: str, fields: Mapping[str, str | Sequence[str]]) -> Way:
    _known(name, fields, {*_TOLD, "tests", "reason", "open"})
    told = {field: str(fields.get(field, "")) for field in _TOLD}
    return Way(
        name=way, told=told, tests=tuple(fields.get("tests", ())), reason=str(fields.get("reason", "")), open=str(fields.get("open", ""))
    )


def _known(name: str, fields: Mapping[str, object], known: set[str]) -> None:
    if unknown := fields.keys() - known:
        raise ValueError(f"{name} has {', '.join(sorted(unknown))}; the fields are {', '.join(sorted(known))}")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def main(argv: Sequence[str]) -> int:
    if argv:
        audit, today = json.loads(Path(argv[0]).read_text()), dt.datetime.now(dt.UTC).date()
        record(audit, today.isoformat())
    DOCUMENT.write_text(document(rows(), *results()))
    README.write_text(readme(README.read_text(), *results()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
