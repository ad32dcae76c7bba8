"""Which piece of work a call belongs to, and its form on the wire."""

from dataclasses import dataclass

from plimsoll.common.v1 import work_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkContext:
    """Attributes:
    step           position of the step in the journal of `run_id`
    agent_version  digest of the version
    epoch          of the claim under which the work is done; a higher one always wins
    labels         what the run has read, by the labels of what it read from; policy weighs them
    """

    run_id: str = ""
    step: int = 0
    node: str = ""
    agent: str = ""
    agent_version: str = ""
    epoch: int = 0
    labels: tuple[str, ...] = ()


def work_to_proto(work: WorkContext) -> work_pb2.WorkContext:
    message = work_pb2.WorkContext()
    write_work(message, work)
    return message


def write_work(message: work_pb2.WorkContext, work: WorkContext) -> None:
    """Into a message in its place inside another."""
    message.run_id = work.run_id
    message.step = work.step
    message.node = work.node
    message.agent = work.agent
    message.agent_version = work.agent_version
    message.epoch = work.epoch
    message.labels.extend(work.labels)


def work_from_proto(message: work_pb2.WorkContext) -> WorkContext:
    return WorkContext(
        run_id=message.run_id,
        step=message.step,
        node=message.node,
        agent=message.agent,
        agent_version=message.agent_version,
        epoch=message.epoch,
        labels=tuple(message.labels),
    )
