"""What commands print: plain text made safe, tables that fit, JSON; colours only on a terminal."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

import orjson

from plimsoll_client.cli.program import spelled

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 200  # a pipe has no width; the console's own guess of 80 would cut tables that programs read
_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF}


def console(stream: TextIO | None = None) -> "Console":
    """A console that prints what it is given and reads no markup in it."""
    from rich.console import Console  # noqa: PLC0415 - 80 ms, which no --help and no usage error should wait for

    file = stream or sys.stdout
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


def error_console() -> "Console":
    """The same on standard error, for progress and problems."""
    return console(sys.stderr)


def visible(text: str) -> str:
    """Text from outside, with every character that could move the cursor or hide others written as its code."""
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    code = ord(char)
    hidden = (code < 0x20 and char not in "\n\t") or 0x7F <= code < 0xA0 or code in _BIDI
    return f"\\u{code:04x}" if hidden else char


def one_line(text: str, width: int = 100) -> str:
    """The beginning of a text on one line."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def prose(out: "Console", text: str, *, style: str = "") -> None:
    """A sentence of our own or of an answer: broken between words on a terminal, keeping its indent; one line elsewhere."""
    from rich.padding import Padding  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    if not out.is_terminal:
        out.print(text, style=style or None, soft_wrap=True)
        return
    inner = text.lstrip(" ")
    out.print(Padding(Text(inner, style=style), (0, 0, 0, len(text) - len(inner)), expand=False))


def as_json(value: object) -> str:
    """A value, or a list of them, as indented JSON."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def as_json_line(value: object) -> str:
    """A value as JSON on one line."""
    return orjson.dumps(value).decode()


def print_json(value: object) -> None:
    """Print for programs, without any console in between."""
    sys.stdout.write(as_json(value) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> "Table":
    """A table without lines; the last column wraps, the others never do."""
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column != columns[-1], overflow="fold")
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made


def print_list(items: Sequence[object], made: "Table", *, as_json: bool, empty: str) -> None:
    """A list for programs, or a table for people, or the sentence that says there is nothing."""
    if as_json:
        print_json(list(items))
    elif not items:
        error_console().print(spelled(empty), soft_wrap=True)
    else:
        print_table(made)


def print_table(made: "Table", out: "Console | None" = None) -> None:
    """Print a table, in a pipe without the blanks that fill up its lines."""
    target = out or console()
    if target.is_terminal:
        target.print(made)
        return
    with target.capture() as captured:
        target.print(made)
    target.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def when(at: datetime | None) -> str:
    """A moment in the reader's own time."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def money(micros: int) -> str:
    """Micros of a US dollar for people; four digits for what is less than a cent."""
    return "$0" if micros == 0 else f"${micros / 1e6:.2f}" if micros >= 10_000 else f"${micros / 1e6:.6f}".rstrip("0")


def pretty(value: object) -> str:
    """JSON for people to read: a text as it is, anything else indented and with its keys in order, so that like things look alike."""
    if isinstance(value, str):
        return visible(value)
    return visible(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode())
