"""An audit as text, as JSON and as a page."""

from collections.abc import Iterator
from html import escape

from plimsoll_client.cli.output import visible
from plimsoll_runtime.json_types import JsonObject

from plimsoll_devstack.audit.grading import Audit, Outcome

_MARKS = {Outcome.KEPT: "✓", Outcome.BROKEN: "✗", Outcome.NOT_MEASURED: "·"}
_STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}td{padding:.2rem .6rem;vertical-align:top}"


def as_text(audit: Audit) -> str:
    """For a terminal."""
    return "\n".join(_lines(audit))


def _lines(audit: Audit) -> Iterator[str]:
    yield f"Audit of {visible(audit.agent)}, seed {audit.seed}, {audit.took_s:.0f} s"
    for answer in audit.answers:
        yield ""
        yield f"{answer.grade}  {answer.dimension}: {answer.question}"
        for check in answer.checks:
            yield f"   {_MARKS[check.outcome]} {check.what}: {visible(check.evidence)}"
            if check.remedy:
                yield f"     → {check.remedy}"


def as_object(audit: Audit) -> JsonObject:
    """For programs."""
    return {
        "agent": audit.agent,
        "seed": audit.seed,
        "took_s": round(audit.took_s, 3),
        "passed": audit.passed,
        "answers": [
            {
                "dimension": answer.dimension,
                "question": answer.question,
                "grade": answer.grade,
                "checks": [
                    {"what": check.what, "outcome": check.outcome.value, "evidence": check.evidence, "remedy": check.remedy}
                    for check in answer.checks
                ],
            }
            for answer in audit.answers
        ],
    }


def as_page(audit: Audit) -> str:
    """One page that loads nothing and runs nothing."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Audit</title><style>{_STYLE}</style>",
        f"<h1>Audit of {escape(audit.agent)}</h1><p>Seed {audit.seed}, {audit.took_s:.0f} s</p>",
    ]
    for answer in audit.answers:
        parts.append(f"<h2>{escape(answer.grade)} – {escape(answer.dimension)}</h2><p>{escape(answer.question)}</p><table>")
        for check in answer.checks:
            cells = (_MARKS[check.outcome], check.what, check.evidence, check.remedy)
            parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        parts.append("</table>")
    return "\n".join([*parts, "</html>"]) + "\n"
