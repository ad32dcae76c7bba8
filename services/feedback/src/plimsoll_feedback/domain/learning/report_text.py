"""Reports for reading: as plain text, and as one page of HTML that needs nothing from outside."""

from html import escape

from plimsoll_feedback.domain.learning.comparison import Measure
from plimsoll_feedback.domain.learning.reports import Report

_WIDTH, _ROW, _LEFT = 860, 22, 300
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1b1f24}"
    "h1{font-size:1.4em}table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}.passed{color:#17692f}.failed{color:#b3261e}.inconclusive{color:#8a5a00}"
    "svg text{font:12px system-ui,sans-serif}"
)


def text_of(report: Report) -> str:
    """For terminals and logs."""
    lines = [
        f"{report.subject} {report.name}: {report.verdict.upper()}",
        f"candidate {report.candidate_digest[:12]} against {report.baseline_digest[:12]}, "
        f"{report.examples} held-out examples of {report.dataset} version {report.dataset_version}",
        f"report {report.digest}, {report.created_at.isoformat(timespec='seconds')}",
        "",
        *(f"  {reason}" for reason in report.reasons),
        "",
        f"  {'scorer':<14}{'slice':<36}{'candidate':>12}{'baseline':>12}{'difference':>24}{'n':>7}{'p':>9}",
    ]
    return "\n".join([*lines, *(_line(one) for one in report.measures), ""])


def page_of(report: Report) -> str:
    """Plots are inline SVG; there is no script, and nothing is loaded."""
    head = f"{report.subject} {report.name}"
    rows = "".join(
        f"<tr><td>{escape(one.scorer)}</td><td>{escape(one.slice or 'all')}</td><td>{one.candidate:.4g}</td><td>{one.baseline:.4g}</td>"
        f"<td>{one.low:+.4g} to {one.high:+.4g}</td><td>{one.examples}</td><td>{one.unscored}</td><td>{one.p_value:.2g}</td>"
        f"<td>{'regressed' if one.regressed else ''}</td></tr>"
        for one in report.measures
    )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report.reasons)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(head)}</title><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(head)}: <span class="{report.verdict}">{report.verdict}</span></h1>'
        f"<p>Candidate <code>{escape(report.candidate_digest[:12])}</code> against <code>{escape(report.baseline_digest[:12])}</code> on "
        f"{report.examples} held-out examples of {escape(report.dataset)}, version {report.dataset_version}; "
        f"{report.created_at.isoformat(timespec='seconds')}; intervals of {report.confidence:.0%}.</p><ul>{reasons}</ul>"
        f"{_plot(report)}<table><thead><tr><th>scorer</th><th>slice</th><th>candidate</th><th>baseline</th><th>difference</th>"
        f"<th>examples</th><th>unscored</th><th>p</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        f"<p>Report <code>{escape(report.digest)}</code></p></body></html>"
    )


def _line(one: Measure) -> str:
    mark = "  regressed" if one.regressed else ""
    difference = f"{one.low:+.3g} to {one.high:+.3g}"
    shown = f"{one.candidate:>12.4g}{one.baseline:>12.4g}{difference:>24}{one.examples:>7}{one.p_value:>9.2g}"
    return f"  {one.scorer:<14}{(one.slice or 'all')[:34]:<36}{shown}{mark}"


def _plot(report: Report) -> str:
    """The intervals of the deciding scorer's differences, over all and slice by slice; left of the line is worse."""
    first = report.measures[0].scorer if report.measures else ""
    shown = [one for one in report.measures if one.scorer == first and one.examples]
    most = max((max(abs(one.low), abs(one.high)) for one in shown), default=0.0) or 1.0
    middle, scale = _LEFT + (_WIDTH - _LEFT) / 2, (_WIDTH - _LEFT - 20) / 2 / most
    height = _ROW * len(shown) + 20
    bars = "".join(_bar(one, at * _ROW + 20, middle, scale) for at, one in enumerate(shown))
    return (
        f'<svg role="img" aria-label="differences of {escape(first)}" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
        f'<line x1="{middle:.1f}" y1="0" x2="{middle:.1f}" y2="{height}" stroke="#999"/>{bars}</svg>'
    )


def _bar(one: Measure, y: float, middle: float, scale: float) -> str:
    colour = "#b3261e" if one.regressed else "#17692f" if one.low > 0 else "#556"
    low, high, point = (middle + scale * value for value in (one.low, one.high, one.candidate - one.baseline))
    return (
        f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape((one.slice or "all")[:44])} ({one.examples})</text>'
        f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{point:.1f}" cy="{y}" r="4" fill="{colour}"/>'
    )
