"""The gRPC servicer, put together from its parts: requests to verbs, results to responses."""

from plimsoll_orchestrator.service import Control, Following, Orchestrator
from plimsoll_orchestrator.service.dry_run import DryRun
from plimsoll_orchestrator.service.load import LoadWatch
from plimsoll_orchestrator.service.schedules import Schedules
from plimsoll_orchestrator.service.webhooks import Webhooks
from plimsoll_orchestrator.transport.control_rpcs import ControlRpcs
from plimsoll_orchestrator.transport.dry_run_rpcs import DryRunRpcs
from plimsoll_orchestrator.transport.load_rpcs import LoadRpcs
from plimsoll_orchestrator.transport.run_rpcs import RunRpcs
from plimsoll_orchestrator.transport.schedule_rpcs import ScheduleRpcs
from plimsoll_orchestrator.transport.webhook_rpcs import WebhookRpcs


class OrchestratorServicer(RunRpcs, ControlRpcs, ScheduleRpcs, WebhookRpcs, DryRunRpcs, LoadRpcs):
    """Every method works for the tenant of the authenticated caller."""

    def __init__(
        self,
        service: Orchestrator,
        control: Control,
        following: Following,
        schedules: Schedules,
        webhooks: Webhooks,
        dry_run: DryRun,
        load: LoadWatch,
    ) -> None:
        self._service = service
        self._control = control
        self._following = following
        self._schedules = schedules
        self._webhooks = webhooks
        self._dry_run = dry_run
        self._load = load
