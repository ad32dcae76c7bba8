"""The table of every reason that an error may carry, read from the code of all services: `python tests/contract/reasons.py` writes it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from plimsoll_gateway.transport.problems import FINER, STATUS
from plimsoll_runtime import errors as roots
from plimsoll_runtime.errors import ErrorKind
from plimsoll_runtime.status import CODES

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "services" / "gateway" / "ERRORS.md"
_HEAD = """# Reasons

Every error has a stable `reason`, the same over REST (problem details, RFC 9457), gRPC (`google.rpc.ErrorInfo`) and the command line; a status
is a class of reasons and no more. What may succeed later says when: `Retry-After` over REST, `RetryInfo` over gRPC. Errors under `/openai/v1`
carry the reason as `code`. This table is made from the code of all services by `python tests/contract/reasons.py`.

| reason | REST | gRPC | meaning | what to do |
| --- | --- | --- | --- | --- |
"""
_REMEDIES = {
    ErrorKind.INVALID: "mend the request",
    ErrorKind.UNAUTHENTICATED: "use another key or token",
    ErrorKind.DENIED: "ask somebody who may",
    ErrorKind.NOT_FOUND: "check the name or id",
    ErrorKind.CONFLICT: "look at the present state",
    ErrorKind.EXHAUSTED: "wait as long as it says",
    ErrorKind.UNAVAILABLE: "repeat as it says",
    ErrorKind.TIMEOUT: "repeat",
    ErrorKind.CANCELLED: "nothing: the caller left",
    ErrorKind.INTERNAL: "report it with the trace id",
}


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """One reason as one place in the code gives it."""

    reason: str
    kind: ErrorKind
    meaning: str


@cache
def reasons() -> dict[str, Reason]:
    """The best told place of each reason: a class before a call, words before none."""
    trees = [ast.parse(text) for text in (path.read_text() for path in _sources()) if "reason" in text]
    kinds = {name: value.kind for name, value in vars(roots).items() if isinstance(value, type) and hasattr(value, "kind")}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _ in range(5):  # as deep as trees of errors go
        for node in classes:
            base = next((one.id for one in node.bases if isinstance(one, ast.Name) and one.id in kinds), "")
            if base and node.name not in kinds:
                kinds[node.name] = kinds[base]
    found: dict[str, Reason] = {}
    for reason in [*_of_classes(classes, kinds), *_of_calls(trees, kinds)]:
        if reason.reason not in found or (not found[reason.reason].meaning and reason.meaning):
            found[reason.reason] = reason
    return dict(sorted(found.items()))


def table() -> str:
    finer = {cls.reason: status for cls, status in FINER.items()}
    rows = []
    for one in reasons().values():
        code = CODES[one.kind].name
        status = finer.get(one.reason, STATUS[one.kind])
        rows.append(f"| `{one.reason}` | {status} | {code} | {one.meaning or '(see its message)'} | {_REMEDIES[one.kind]} |")
    return _HEAD + "\n".join(rows) + "\n"


def _sources() -> Iterator[Path]:
    for folder in (ROOT / "libs" / "runtime" / "src", ROOT / "libs" / "graph" / "src", *sorted((ROOT / "services").glob("*/src"))):
        yield from sorted(folder.rglob("*.py"))


def _of_classes(classes: list[ast.ClassDef], kinds: dict[str, ErrorKind]) -> Iterator[Reason]:
    for node in classes:
        for line in node.body:
            if (
                node.name in kinds
                and isinstance(line, ast.Assign)
                and isinstance(line.targets[0], ast.Name)
                and line.targets[0].id == "reason"
            ):
                text = _constant(line.value)
                if text:
                    yield Reason(text, kinds[node.name], (ast.get_docstring(node) or "").partition("\n")[0])


def _of_calls(trees: list[ast.Module], kinds: dict[str, ErrorKind]) -> Iterator[Reason]:
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in kinds:
                continue
            for keyword in node.keywords:
                text = _constant(keyword.value) if keyword.arg == "reason" else ""
                if text:
                    yield Reason(text, kinds[node.func.id], _constant(node.args[0]) if node.args else "")


def _constant(node: ast.expr) -> str:
    """The text of a literal; of an f-string, with … for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("|", "/")
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values).replace("|", "/")
    return ""


if __name__ == "__main__":
    TABLE.write_text(table())
