"""Arguments and options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Data directory of the mesh [default: PLIMSOLL_ADDRESS, PLIMSOLL_DATA_DIR, ./.plimsoll, ~/.local/share/plimsoll]",
        show_default=False,
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs")]

Limit = Annotated[int, typer.Option("--limit", "-n", help="At most this many", min=1, max=10_000)]

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, as `plimsoll runs list` shows it", show_default=False)]

Key = Annotated[str, typer.Option("--key", help="Your own key: the same key again is the same thing, not a second one")]

Latest = Annotated[bool, typer.Option("--latest", help="With the newest version of the agent")]
