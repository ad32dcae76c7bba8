"""The tables at the end: what runs cost by agent, how often they were right, what failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from plimsoll_client.cli.output import money, seconds, table
from plimsoll_client.models import RunStatus
from plimsoll_client.observations import FailureReport
from plimsoll_runtime.usage import Usage
from rich.table import Table

from plimsoll_devstack.demo.accuracy import Tally
from plimsoll_devstack.demo.work import Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the runs of one agent cost. Times are from acceptance to the end of a run."""

    agent: str
    runs: int
    succeeded: int
    steps: int
    usage: Usage
    median_s: float
    longest_s: float


def costs_by_agent(finished: Sequence[Finished]) -> list[Costs]:
    """One row per agent, in the order of their first run."""
    return [_costs(agent, [each for each in finished if each.sample.agent == agent]) for agent in _agents(finished)]


def costs_table(costs: Iterable[Costs]) -> Table:
    """Steps, tokens, money and time by agent."""
    columns = ("agent", "runs", "succeeded", "steps", "tokens in", "tokens out", "cost", "median time", "longest")
    return table(columns, (_costs_row(each) for each in costs), right=columns[1:])


def accuracy_table(found: Iterable[Tally]) -> Table:
    """Expected and found, by agent and field."""
    columns = ("agent", "field", "right", "of", "share")
    rows = ((each.agent, each.field, str(each.met), str(each.asked), f"{each.met / each.asked:.0%}") for each in found)
    return table(columns, rows, right=columns[2:])


def failures_table(report: FailureReport) -> Table:
    """Failures by category."""
    rows = ((str(each.category), str(each.count), ", ".join(each.reasons)) for each in report.counts)
    return table(("category", "count", "most frequent reasons"), rows, right=("count",))


def _agents(finished: Iterable[Finished]) -> list[str]:
    return list(dict.fromkeys(each.sample.agent for each in finished))


def _costs(agent: str, finished: Sequence[Finished]) -> Costs:
    times = [each.report.duration_s or 0.0 for each in finished]
    return Costs(
        agent=agent,
        runs=len(finished),
        succeeded=sum(each.run.status is RunStatus.SUCCEEDED for each in finished),
        steps=sum(each.run.steps for each in finished),
        usage=sum((each.run.usage for each in finished), Usage()),
        median_s=median(times),
        longest_s=max(times),
    )


def _costs_row(each: Costs) -> tuple[str, ...]:
    usage = each.usage
    tokens = (f"{usage.input_tokens:,}", f"{usage.output_tokens:,}")
    times = (seconds(each.median_s), seconds(each.longest_s))
    return (each.agent, str(each.runs), str(each.succeeded), str(each.steps), *tokens, money(usage.cost_micros), *times)
