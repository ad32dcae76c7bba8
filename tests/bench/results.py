"""What a benchmark reports: one row per measure, printed and kept in results.json."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Attributes:
    ratio   value over the peer's; above 1 is better for rates, below 1 for times
    target  what DESIGN asks of the ratio, or of the value where there is no peer
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    target: str = ""
    passed: bool | None = None
    seed: int = 0


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def keep(rows: list[Row]) -> None:
    """Put the rows into results.json, in place of older rows of the same name and peer."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = []
    for row in rows:
        shown = asdict(row)
        shown["pass"] = shown.pop("passed")
        fresh.append({**shown, "machine": machine(), "at": at})
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    measured = {(row["name"], row["peer"]) for row in fresh}
    RESULTS.write_text(json.dumps([row for row in old if (row["name"], row["peer"]) not in measured] + fresh, indent=1) + "\n")


def show(rows: list[Row]) -> None:
    print(f"{'measure':<22}{'value':>12} {'unit':<10}{'peer':<28}{'peer value':>12}{'ratio':>9}  {'target':<12} met")
    for row in rows:
        peer_value = f"{row.peer_value:,.1f}" if row.peer_value is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        met = {True: "yes", False: "no", None: ""}[row.passed]
        print(f"{row.name:<22}{row.value:>12,.1f} {row.unit:<10}{row.peer:<28}{peer_value:>12}{ratio:>9}  {row.target:<12} {met}")
