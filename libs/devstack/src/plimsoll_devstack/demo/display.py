"""Progress of the demo: bars on a terminal, plain lines elsewhere."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plimsoll_client.cli.approvals import call_line, print_question
from plimsoll_client.cli.output import console, print_table, prose
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from plimsoll_devstack.demo.samples import Sample
from plimsoll_devstack.demo.work import Decided

_LINE_EVERY = 10
_QUESTION_LINES = 20


class Display:
    """Where the demo's story appears."""

    def __init__(self) -> None:
        self.out: Console = console()
        self._shown: set[bool] = set()

    def title(self, text: str) -> None:
        """Begin a chapter."""
        self.out.print(f"\n{text}", style="bold")

    def line(self, text: str, *, style: str = "") -> None:
        """One sentence."""
        prose(self.out, text, style=style)

    def table(self, made: Table) -> None:
        """A table."""
        print_table(made, self.out)

    def decided(self, decided: Decided) -> None:
        """The first question that is allowed and the first that is refused are shown, up to a screenful; the others on a line."""
        word, style = ("approved", "green") if decided.approved else ("rejected", "red")
        if decided.approved in self._shown:
            self.line(f"  {decided.approval.agent} asked: {call_line(decided.approval)}: {word}", style="dim")
            return
        self._shown.add(decided.approved)
        print_question(self.out, decided.approval, most_lines=_QUESTION_LINES)
        self.line(f"  → {word} by the demo", style=style)

    @contextmanager
    def bars(self, samples: Sequence[Sample]) -> "Iterator[Bars]":
        """Progress of the samples, while the block lasts."""
        totals = Counter(sample.agent for sample in samples)
        if not self.out.is_terminal:
            yield Bars(self, totals, None)
            return
        columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.out, transient=True) as progress:
            yield Bars(self, totals, progress)


class Bars:
    """One bar, or one line now and then, per agent."""

    def __init__(self, display: Display, totals: Counter[str], progress: Progress | None) -> None:
        self._display = display
        self._totals = totals
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        if progress is not None:
            self._tasks = {agent: progress.add_task(agent, total=total) for agent, total in totals.items()}
        self._done: Counter[str] = Counter()

    def end(self, sample: Sample) -> None:
        """One more run has ended."""
        self._done[sample.agent] += 1
        done, total = self._done[sample.agent], self._totals[sample.agent]
        if self._progress is not None:
            self._progress.advance(self._tasks[sample.agent])
        elif done == total or done % _LINE_EVERY == 0:
            self._display.line(f"  {sample.agent}: {done} of {total} runs")
