"""`plimsoll demo`: the whole mesh at work on the sample inputs of its agents, told as it happens."""

from plimsoll_devstack.demo.command import app

__all__ = ["app"]
