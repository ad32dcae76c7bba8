"""What the graph language refuses.

PlimsollError
└── Invalid
    └── InvalidGraph   the graph has mistakes, each with its line
"""

from plimsoll_runtime.errors import Invalid


class InvalidGraph(Invalid):
    """The graph has mistakes."""

    reason = "INVALID_GRAPH"
