"""`plimsoll agents check`: graphs checked as the mesh would, without one, and told like a compiler tells it."""

import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.options import AsJson
from plimsoll_client.cli.output import console, print_json, visible
from plimsoll_client.errors import BadInput
from plimsoll_client.files import read_given, text_of

if TYPE_CHECKING:
    from plimsoll_graph.check import Checked
    from plimsoll_graph.yaml_source import Mistake
    from rich.console import Console

_GRAPH = "agent.yaml"
_LINE = 140  # of the source, as it is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One file: the text that was checked, and what came of it; or why there is none."""

    file: str
    text: str
    checked: "Checked | None"
    unreadable: tuple[FieldProblem, ...] = ()

    @property
    def is_good(self) -> bool:
        return self.checked is not None and not self.checked.mistakes


def check_agents(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="YAML, JSON, a folder with an agent.yaml or of such folders, or Python that defines `agent`",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Check graphs, without a mesh. Tells every mistake at once.

    A .py file is run, by you and on this machine, to get the `agent` that it builds with plimsoll_graph.builder.
    """
    found = [_check(file) for path in files for file in _graphs(path)]
    if as_json:
        print_json([_as_json(each) for each in found])
    else:
        _print(found)
    if not all(each.is_good for each in found):
        raise typer.Exit(Exit.BAD_INPUT)


def _graphs(path: Path) -> list[Path]:
    """The file itself, or the graph of a folder, or those of its folders."""
    if not path.is_dir() or (path / _GRAPH).is_file():
        return [path / _GRAPH if path.is_dir() else path]
    return sorted(path.glob(f"*/{_GRAPH}")) or [path / _GRAPH]


def _check(file: Path) -> _Found:
    from plimsoll_graph.check import check  # noqa: PLC0415 - the expression engine takes a while to load, which only this command should pay

    try:
        text = graph_text(file)
    except BadInput as error:
        return _Found(file=str(file), text="", checked=None, unreadable=tuple(error.problems))
    return _Found(file=str(file), text=text, checked=check(text, str(file)))


def graph_text(file: Path) -> str:
    """The YAML or JSON of a graph, which a .py file builds. Raises BadInput."""
    return _built(file) if file.suffix == ".py" else text_of(read_given(str(file)))


def _built(file: Path) -> str:
    """The YAML of the agent that a Python file builds. Raises BadInput when it builds none."""
    from plimsoll_graph.builder import Agent  # noqa: PLC0415 - as above

    read_given(str(file))  # says what is wrong with a file that is not there
    try:
        agent = runpy.run_path(str(file)).get("agent")
    except (Exception, SystemExit) as error:
        line = _line_of(error, file)
        raise BadInput(problems=[FieldProblem(f"{file}{line}", f"{type(error).__name__}: {error}", "mend the code")]) from error
    if not isinstance(agent, Agent):
        raise BadInput(problems=[FieldProblem(str(file), "defines no `agent`", "write agent = Agent(…), from plimsoll_graph.builder")])
    return agent.to_yaml()


def _line_of(error: BaseException, file: Path) -> str:
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""


def _as_json(found: _Found) -> dict[str, object]:
    checked = found.checked
    graph = checked.graph if checked else None
    mistakes: list[dict[str, object]] = [
        {"line": None, "column": None, "field": "", "problem": problem.problem, "remedy": problem.remedy} for problem in found.unreadable
    ]
    return {
        "file": found.file,
        "ok": found.is_good,
        "agent": graph.agent if graph else None,
        "digest": graph.digest if graph else None,
        "mistakes": mistakes + [_mistake_as_json(mistake) for mistake in (checked.mistakes if checked else ())],
        "warnings": [_mistake_as_json(warning) for warning in (checked.warnings if checked else ())],
    }


def _mistake_as_json(mistake: "Mistake") -> dict[str, object]:
    place = mistake.place
    return {
        "line": place.line if place else None,
        "column": place.column if place else None,
        "field": mistake.path,
        "problem": mistake.problem,
        "remedy": mistake.remedy,
    }


def _print(found: list[_Found]) -> None:
    out = console()
    for each in found:
        for problem in each.unreadable:
            out.print(visible(str(problem)), style="red", soft_wrap=True)
        if each.checked is None:
            continue
        lines = each.text.splitlines()
        if each.file.endswith(".py") and (each.checked.mistakes or each.checked.warnings):
            out.print(f"{each.file}: lines are those of agent.to_yaml()", soft_wrap=True)
        for mistake in each.checked.mistakes:
            _print_mistake(out, mistake, lines, "mistake", "red")
        for warning in each.checked.warnings:
            _print_mistake(out, warning, lines, "warning", "yellow")
        graph = each.checked.graph
        if graph is not None:
            nodes = "1 node" if len(graph.nodes) == 1 else f"{len(graph.nodes)} nodes"
            out.print(f"{visible(each.file)}: {graph.agent} is good: {nodes}, digest {graph.digest[:12]}", soft_wrap=True)
    mistakes = sum(len(each.unreadable) + len(each.checked.mistakes if each.checked else ()) for each in found)
    warnings = sum(len(each.checked.warnings) for each in found if each.checked)
    if mistakes or warnings:
        told = [_count(mistakes, "mistake"), _count(warnings, "warning")]
        out.print(" and ".join(words for words in told if words), style="bold", soft_wrap=True)


def _print_mistake(out: "Console", mistake: "Mistake", lines: list[str], word: str, style: str) -> None:
    place = mistake.place
    told = f"{mistake.path}: {mistake.problem}" if mistake.path else mistake.problem
    where = mistake.source if place is None else f"{mistake.source}:{place.line}:{place.column}"
    out.print(f"{visible(where)}: {word}: {visible(told)}", style=style, soft_wrap=True)
    if place is not None and place.line <= len(lines):
        line = lines[place.line - 1]
        start = max(0, place.column - _LINE // 2) if len(line) > _LINE else 0
        shown = line[start : start + _LINE].replace("\t", " ")
        if len(visible(shown)) == len(shown):
            out.print(f"{place.line:>6} | {shown}", soft_wrap=True)
            out.print(f"       | {' ' * (place.column - 1 - start)}^", style=style, soft_wrap=True)
    if mistake.remedy:
        out.print(f"       = {visible(mistake.remedy)}", soft_wrap=True)


def _count(number: int, word: str) -> str:
    return "" if number == 0 else f"1 {word}" if number == 1 else f"{number} {word}s"
