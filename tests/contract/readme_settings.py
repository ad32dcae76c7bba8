"""The settings table of each service's README, made from its Settings: `make readme` writes it, a test compares it."""

import importlib
import re
import sys
from pathlib import Path

from plimsoll_runtime.settings import variables

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback")
_TABLE = re.compile(r"(## Settings\n(?:(?!\n## ).)*?\n)(\|[^\n]*\n(?:\|[^\n]*\n)*)", re.DOTALL)


def table(service: str) -> str:
    """The table as Markdown."""
    snake = service.replace("-", "_")
    settings = importlib.import_module(f"plimsoll_{snake}.config").Settings
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for variable in variables(settings, f"PLIMSOLL_{snake.upper()}_"):
        default = "must be set" if variable.required else f"`{variable.default}`" if variable.default else ""
        rows.append(f"| `{variable.name}` | {default} | {variable.doc.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def readme(service: str) -> Path:
    return ROOT / "services" / service / "README.md"


def current(service: str) -> str:
    """The table in the README; empty when there is none under "## Settings"."""
    found = _TABLE.search(readme(service).read_text())
    return found[2] if found else ""


def main() -> int:
    for service in SERVICES:
        path = readme(service)
        path.write_text(_TABLE.sub(lambda found, service=service: found[1] + table(service), path.read_text(), count=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
