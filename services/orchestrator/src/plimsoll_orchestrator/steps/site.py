"""Where a step is performed: its run, its node, its place in a fan-out, and the services in reach."""

from dataclasses import dataclass

from plimsoll_graph.expression import Scope
from plimsoll_graph.graph import Node
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.work import WorkContext

from plimsoll_orchestrator.domain.decide import scope_of
from plimsoll_orchestrator.domain.journal import ApprovalStatus
from plimsoll_orchestrator.domain.run import Approval, Run, Step
from plimsoll_orchestrator.ports import Grant, Memory, Models, Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Attributes:
    place  position in a fan-out; None outside of one
    item   the element there
    """

    run: Run
    step: Step
    node: Node
    epoch: int
    models: Models
    tools: Tools
    memory: Memory
    place: int | None = None
    item: JsonValue = None

    @property
    def scope(self) -> Scope:
        return scope_of(self.run, item=self.item, index=self.place)

    @property
    def work(self) -> WorkContext:
        run = self.run
        return WorkContext(
            run_id=run.run_id, step=self.step.seq, node=self.node.name, agent=run.agent, agent_version=run.agent_digest, epoch=self.epoch
        )

    def key(self, *parts: int | str) -> str:
        """A key for a call, the same whenever this step is performed again: it hangs on a journal position that is fixed before any call."""
        place = () if self.place is None else (self.place,)
        return ":".join(map(str, (self.run.run_id, self.step.key_seq, *place, *parts)))

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What people allowed in this step."""
        return tuple(
            Grant(grant_id=approval.approval_id, call_digest=approval.proposal.call_digest, granted_by=approval.decided_by)
            for approval in self.approvals
            if approval.proposal is not None and approval.status is ApprovalStatus.APPROVED
        )

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """The questions that this step asked, oldest first."""
        return tuple(self.run.approvals[approval_id] for approval_id in self.step.approvals)

    def decided(self, call_digest: str) -> Approval | None:
        """What was decided about a call in this step."""
        return next((a for a in self.approvals if a.proposal is not None and a.proposal.call_digest == call_digest), None)
