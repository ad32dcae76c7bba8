"""The body of one operation, fetched from the service that keeps it."""

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.errors import OperationNotFound
from plimsoll_feedback.ports import OperationStore
from plimsoll_feedback.ports.bodies import Bodies
from plimsoll_feedback.service.feedback import no_run


class OperationBodies:
    """Looks up the operation, then asks its owner. Nothing of the body is stored here."""

    def __init__(self, operations: OperationStore, bodies: Bodies) -> None:
        self._operations = operations
        self._bodies = bodies

    async def get_body(self, tenant: str, run_id: RunId, operation_id: OperationId) -> Body:
        """Raises RunNotFound, OperationNotFound, or what asking the owner raises."""
        operation = await self._operations.get(tenant, run_id, operation_id)
        if operation is None:
            if run_id and not await self._operations.has_run(tenant, run_id):
                raise no_run(run_id)
            raise OperationNotFound(
                f"run {run_id} has no operation {operation_id}", remedy="take the id from the list of the run's operations"
            )
        return await self._bodies.of(tenant, operation)
