"""How the user can type this program again: messages say `plimsoll …`, and what is printed has to work when it is copied."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "plimsoll"


def program(started_as: str, environ: Mapping[str, str]) -> str:
    """The bare name where the shell finds this very program by it, else the path that was typed."""
    typed = Path(started_as)
    if typed.name != NAME or typed == Path(NAME):
        return NAME
    found = shutil.which(NAME, path=environ.get("PATH", ""))
    return NAME if found is not None and Path(found).resolve() == typed.resolve() else shlex.quote(started_as)


def here(environ: Mapping[str, str]) -> str:
    """This program, as this user has to type it."""
    return program(sys.argv[0], environ)


def spelled(text: str) -> str:
    """A message of ours, with each command in it as this user has to type it."""
    name = here(os.environ)
    return text if name == NAME else text.replace(f"`{NAME} ", f"`{name} ")
