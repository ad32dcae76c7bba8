"""Where a step is performed: its run, its node, its place in a fan-out, and the services in reach."""

from dataclasses import dataclass

from plimsoll_graph.expression import Scope
from plimsoll_graph.graph import Node, PromptName
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.work import WorkContext

from plimsoll_orchestrator.domain.journal import ApprovalStatus
from plimsoll_orchestrator.domain.run import Approval, Run, Step, own_key
from plimsoll_orchestrator.domain.scope import scope_of
from plimsoll_orchestrator.ports import Grant, Hear, Memory, Models, Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Attributes:
    place  position in a fan-out; None outside of one
    item   the element there
    again  this claim has begun the step, or this turn of it, before
    """

    run: Run
    step: Step
    node: Node
    epoch: int
    models: Models
    tools: Tools
    memory: Memory
    listen: Hear | None = None
    place: int | None = None
    item: JsonValue = None
    again: bool = False

    @property
    def scope(self) -> Scope:
        return scope_of(self.run, item=self.item, index=self.place)

    @property
    def work(self) -> WorkContext:
        run = self.run
        return WorkContext(
            run_id=run.run_id,
            step=self.step.seq,
            node=self.node.name,
            agent=run.agent,
            agent_version=run.agent_digest,
            epoch=self.epoch,
            labels=run.labels,
        )

    def key(self, *parts: int | str) -> str:
        """A key for a call, the same whenever this step is performed again: it hangs on a journal position that is fixed before any call."""
        return self._key_of(self.step.key, *parts)

    def own_key(self, *parts: int | str) -> str:
        """A key that this try shares with no earlier one."""
        return self._key_of(own_key(self.run.run_id, self.step.seq), *parts)

    @property
    def is_fresh(self) -> bool:
        """Whether no call was sent yet under any key of this try: the run was never claimed before, and nothing made it ask again."""
        own = self.step.key == own_key(self.run.run_id, self.step.seq)
        return self.epoch == 1 and own and not self.again and not self.step.approvals

    def _key_of(self, step_key: str, *parts: int | str) -> str:
        place = () if self.place is None else (self.place,)
        return ":".join(map(str, (step_key, *place, *parts)))

    def pinned(self, prompt: PromptName) -> str:
        """The version of a prompt that this run uses, once it has used one."""
        return self.run.prompts.get(reference(prompt), "")

    @property
    def hear(self) -> Hear | None:
        """What to do with pieces of what a model says here; None when nobody listens. Inside a map nobody does: the items' texts would mix."""
        return None if self.place is not None else self.listen

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What people allowed in this step."""
        return tuple(
            Grant(
                grant_id=approval.approval_id,
                call_digest=approval.proposal.call_digest,
                granted_by=approval.decided_by,
                approved_by=approval.approved_by,
                requested_by=self.run.origin.requested_by,
                expires_at=approval.expires_at,
            )
            for approval in self.approvals
            if approval.proposal is not None and approval.status is ApprovalStatus.APPROVED
        )

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """The questions that this step asked, oldest first."""
        return tuple(self.run.approvals[approval_id] for approval_id in self.step.approvals)

    def decided(self, call_digest: str) -> Approval | None:
        """What was decided about a call in this step; one that was put otherwise is not decided."""
        return next(
            (a for a in self.approvals if a.proposal is not None and a.proposal.call_digest == call_digest and a.instead is None), None
        )

    def put_otherwise(self, call_key: str) -> Approval | None:
        """The last question about a call that a person answered with other arguments, in this try or an earlier one under the same key."""
        asked = reversed(tuple(self.run.approvals.values()))
        return next((a for a in asked if a.call_key == call_key and a.instead is not None), None)


def reference(prompt: PromptName) -> str:
    """A prompt reference as graphs write it; empty when it names a version, which never moves."""
    return "" if prompt.version else f"{prompt.name}@{prompt.label}"
