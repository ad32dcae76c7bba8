"""The gRPC servicer, put together from its parts: requests to verbs, results to responses."""

from plimsoll_orchestrator.service import Control, Following, Orchestrator
from plimsoll_orchestrator.transport.control_rpcs import ControlRpcs
from plimsoll_orchestrator.transport.run_rpcs import RunRpcs


class OrchestratorServicer(RunRpcs, ControlRpcs):
    """Every method works for the tenant of the authenticated caller."""

    def __init__(self, service: Orchestrator, control: Control, following: Following) -> None:
        self._service = service
        self._control = control
        self._following = following
