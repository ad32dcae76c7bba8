"""The report of a chaos run: what was done to the mesh, what it did, and which promises were broken."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from examine import Examination
from trouble import Trouble
from workload import Workload

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    seed: int
    seconds: float
    workload: Workload
    trouble: Trouble
    found: Examination
    logs: Path

    @property
    def faults(self) -> int:
        """Faults injected, as the services logged them."""
        return sum(path.read_bytes().count(b'"fault.injected"') for path in self.logs.glob("*.log"))

    def recovery_s(self, share: float) -> float:
        """Within how many seconds that share of the runs of killed workers went on elsewhere; 0 when there were none."""
        times = self.found.recovered_s
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0

    @property
    def kills(self) -> int:
        return sum(times for what, times in self.trouble.done.items() if what.startswith("killed"))


def told(report: Report) -> str:
    """The report as text."""
    found, workload = report.found, report.workload
    refused = ", ".join(f"{reason} ×{times}" for reason, times in sorted(workload.refused.items()))
    lines = [
        "",
        f"seed {report.seed}, {report.seconds:.0f} s of trouble: {len(workload.accepted)} runs accepted, {report.kills} kills, "
        f"{report.faults} faults",
        "  trouble     " + _counted(report.trouble.done),
        "  runs        " + _counted(found.statuses) + f"; {len(found.resumed)} set aside for the deaths of their workers, and resumed",
        "  failures    " + (_counted(found.failures) or "none"),
        "  refused     " + (f"{refused}, and submitted again" if refused else "never"),
        f"  examined    {found.effects} effects, {found.unknown_calls} unknown outcomes, {found.operations} operations, {found.streams} streams",
        f"  recovery    {len(found.recovered_s)} runs of killed workers went on elsewhere: half within {report.recovery_s(0.5):.1f} s, "
        f"99 of 100 within {report.recovery_s(0.99):.1f} s",
        f"  violations  {len(found.violations)}",
        *(f"    {violation}" for violation in found.violations[:_SHOWN]),
    ]
    return "\n".join(lines) + "\n"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{what} ×{times}" for what, times in counts.most_common())
