"""`plimsoll runs submit`: start a run and leave, with everything that can be said about how."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem, NotFound

from plimsoll_client.cli.options import AsJson, Data, Key
from plimsoll_client.cli.output import console, error_console, print_json, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import GivenFile, read_given
from plimsoll_client.inputs import input_from_file
from plimsoll_client.options import USUAL, Budget, RunOptions, ThreadPolicy
from plimsoll_client.times import moment_in, seconds_in

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh
    from plimsoll_client.models import Started

app = typer.Typer()

AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="Its name, as `plimsoll agents list` shows it", show_default=False)]
Given = Annotated[
    str,
    typer.Option("--input", "-i", metavar="FILE|-", help="A file, or - for standard input. JSON is the whole input", show_default=False),
]
Thread = Annotated[str, typer.Option("--thread", help="Conversation that the run belongs to; one of its runs is under way at a time")]


class Policy(StrEnum):
    """The words that --policy takes."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"
    STEER = "steer"


PolicyOption = Annotated[
    Policy | None, typer.Option("--policy", help="When its thread has a run under way [default: enqueue]", show_default=False)
]
Priority = Annotated[int, typer.Option("--priority", help="1 to 9, higher first [default: 5]", show_default=False)]
Limits = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="WHAT=MUCH", help="steps=20, tokens=5000, cost=0.05 (dollars) or time=10m; may be repeated"),
]
Concurrency = Annotated[
    str, typer.Option("--concurrency", metavar="KEY[=LIMIT]", help="Runs that name this key are under way at most LIMIT at once")
]


@app.command()
def submit(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    agent: AgentName,
    given: Given,
    key: Key = "",
    thread: Thread = "",
    policy: PolicyOption = None,
    priority: Priority = 0,
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="Not before: 2026-12-01T09:00, in your own time zone unless it names one")
    ] = "",
    within: Annotated[str, typer.Option("--in", metavar="DURATION", help="Not before so long from now: 90m, 2h, 1d")] = "",
    deadline: Annotated[str, typer.Option("--deadline", metavar="TIME|DURATION", help="Fails when it has not finished by then")] = "",
    limits: Limits = None,
    concurrency: Concurrency = "",
    latest: Annotated[bool, typer.Option("--latest", help="Goes on with the newest version of the agent, as far as that fits")] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="What models say can be followed while they say it")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Start a run, print its id and leave."""
    now = datetime.now(UTC)
    if at and within:
        raise _bad("--in", "is given beside --at", "Give one of them")
    named, limit = concurrency_in(concurrency)
    options = RunOptions(
        priority=priority,
        start_at=moment_in(at, "--at", now) if at else moment_in(within, "--in", now) if within else None,
        deadline=moment_in(deadline, "--deadline", now) if deadline else None,
        budget=budget_in(limits or []),
        thread_id=thread,
        thread_policy=policy_of(policy),
        concurrency_key=named,
        concurrency_limit=limit,
        follow_latest=latest,
        stream_tokens=tokens,
    )
    file = read_given(given)
    print_started(on_mesh(data, lambda mesh: start(mesh, agent, file, key, options)), as_json=as_json)


async def start(mesh: "Mesh", agent: str, file: GivenFile, key: str, options: RunOptions = USUAL) -> "Started":
    """Start a run of `agent` on what is in a file. Raises BadInput when the agent takes no such file."""
    try:
        found = await mesh.agents.get(agent)
    except NotFound as error:
        raise NotFound(error.message, reason=error.reason, remedy="See `plimsoll agents list`") from error
    return await mesh.runs.start(agent, input_from_file(file, found.accepts, agent), key=key, options=options)


def print_started(started: "Started", *, as_json: bool) -> None:
    """The run's id for programs that take it from there; what is unusual, for people."""
    if as_json:
        print_json(started)
        return
    console().print(started.run.id)
    if started.steered:
        note = f"No new run: {started.run.id} is under way in thread {started.run.options.thread_id}, and gets the input."
        error_console().print(visible(note), soft_wrap=True)
    elif not started.created:
        error_console().print("No new run: this one was started with the same key before.", soft_wrap=True)


def policy_of(word: Policy | None) -> ThreadPolicy | None:
    return ThreadPolicy(word.value) if word else None


def concurrency_in(text: str) -> tuple[str, int]:
    """Key and limit, 0 for none. Raises BadInput."""
    key, equals, limit = text.rpartition("=")
    if not equals:
        return text, 0
    if not key or not (limit.isascii() and limit.isdigit()) or int(limit) == 0:
        raise _bad("--concurrency", f"is {text!r}", "Give KEY=LIMIT, such as account-7=1")
    return key, int(limit)


def budget_in(pieces: list[str]) -> Budget:
    """Raises BadInput for what is no limit."""
    given: dict[str, str] = {}
    for piece in pieces:
        word, _, value = piece.partition("=")
        if word not in {"steps", "tokens", "cost", "time"} or word in given:
            raise _bad("--budget", f"is {piece!r}", "Give each of steps=, tokens=, cost= and time= once at the most")
        given[word] = value
    return Budget(
        steps=_whole(given, "steps"),
        tokens=_whole(given, "tokens"),
        cost_micros=_micros(given),
        seconds=seconds_in(given["time"], "--budget time") if "time" in given else 0.0,
    )


def _whole(given: Mapping[str, str], word: str) -> int:
    text = given.get(word, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _bad(f"--budget {word}", f"is {text!r}", "Give a whole number")
    return int(text)


def _micros(given: Mapping[str, str]) -> int:
    text = given.get("cost", "0").removeprefix("$")
    whole, _, part = text.partition(".")
    if not (f"{whole}{part}".isascii() and f"{whole}{part}".isdigit() and len(whole) <= 9 and len(part) <= 6):
        raise _bad("--budget cost", f"is {text!r}", "Give dollars, such as 0.05")
    return int(whole or 0) * 1_000_000 + int(part.ljust(6, "0"))


def _bad(field: str, problem: str, remedy: str) -> BadInput:
    return BadInput(problems=(FieldProblem(field, problem, remedy),))
