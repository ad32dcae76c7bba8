"""The verbs of the orchestrator's API, by what they are about."""

from plimsoll_orchestrator.service.control import Control, Fork
from plimsoll_orchestrator.service.following import Followed, Following
from plimsoll_orchestrator.service.runs import Orchestrator, RunView, Started

__all__ = ["Control", "Followed", "Following", "Fork", "Orchestrator", "RunView", "Started"]
