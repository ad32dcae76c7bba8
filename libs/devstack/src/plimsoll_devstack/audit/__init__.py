"""`plimsoll audit`: the five questions that tell a system from a demo, answered by measuring a mesh."""

from plimsoll_devstack.audit.command import app

__all__ = ["app"]
