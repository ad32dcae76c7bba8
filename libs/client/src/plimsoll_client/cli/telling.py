"""What happened, in words that fit one line: whom an entry of the journal is about, and what it says."""

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from plimsoll_client import events
from plimsoll_client.cli.output import as_json_line, seconds, when
from plimsoll_client.options import PRIORITY, RunOptions, RunOrigin, ThreadPolicy

if TYPE_CHECKING:
    from plimsoll_runtime.failures import Failure

StepEvent: TypeAlias = events.StepStarted | events.StepProgressed | events.StepFinished | events.StepFailed
"""What one node does."""

WaitingEvent: TypeAlias = (
    events.ApprovalAsked | events.ApprovalGiven | events.ApprovalDecided | events.WaitStarted | events.SignalReceived | events.InputReceived
)
"""What the run waits for from outside, and what comes."""

FamilyEvent: TypeAlias = events.ChildrenStarted | events.ChildrenJoined | events.ChildrenStopped | events.CompensationStarted
"""What a step does by other runs and nodes."""

RunEvent: TypeAlias = (
    events.RunStarted
    | events.RunPaused
    | events.RunResumed
    | events.RunQuarantined
    | events.VersionChanged
    | events.ThreadJoined
    | events.RunFinished
)
"""What becomes of the whole run."""

_FEW = 3  # child runs that are named


def told(event: events.Happening) -> tuple[str, str]:
    """The node that the entry is about, empty for the run as a whole, and what is said of it."""
    match event:
        case events.StepStarted() | events.StepProgressed() | events.StepFinished() | events.StepFailed():
            return event.node, of_step(event)
        case events.ApprovalAsked() | events.ApprovalGiven() | events.ApprovalDecided():
            return _of_waiting(event)
        case events.WaitStarted() | events.SignalReceived() | events.InputReceived():
            return _of_waiting(event)
        case events.ChildrenStarted() | events.ChildrenJoined() | events.ChildrenStopped() | events.CompensationStarted():
            return event.node, _of_family(event)
        case events.TokensReceived():
            return event.node, event.text
        case events.TokensRetracted():
            return event.node, "the text so far is void: the step is done again"
        case events.OtherEvent():
            return "", "(an entry of a newer mesh)"
        case _:
            return _of_run(event)


def of_step(event: StepEvent) -> str:
    match event:
        case events.StepStarted(kind=kind, attempt=attempt):
            return f"{kind}{f', attempt {attempt}' if attempt > 1 else ''}"
        case events.StepProgressed(detail=detail):
            return as_json_line(detail)
        case events.StepFinished(kind=kind, duration_s=duration_s, next=following, delta=delta, appended=appended, undo=undo):
            grown = f" + {as_json_line(appended)}" if appended else ""
            return f"{'undone: ' if undo else ''}{kind} {seconds(duration_s)} → {following} {as_json_line(delta)}{grown}"
        case events.StepFailed(kind=kind, duration_s=duration_s, failure=failure):
            then = "tried again" if event.retried else f"goes on at {event.next}" if event.next else "no route for it"
            return f"{kind:<9} {seconds(duration_s):>8}  {failure.category}: {failure.message or failure.reason} ({then})"


def _of_waiting(event: WaitingEvent) -> tuple[str, str]:
    match event:
        case events.ApprovalAsked(approval=approval):
            return approval.node, f"waits for approval {approval.id} {approval.summary}".rstrip()
        case events.ApprovalGiven(node=node, approval_id=approval_id, decided_by=by, comment=comment):
            return node, f"{approval_id} approved by {by}, not by enough yet {comment}".rstrip()
        case events.ApprovalDecided(node=node, approval_id=approval_id, status=status, decided_by=by, comment=comment):
            instead = "" if event.arguments is None else f", proposed instead: {as_json_line(event.arguments)}"
            return node, f"{approval_id} {status}{f' by {by}' if by else ''} {comment}".rstrip() + instead
        case events.WaitStarted(node=node, until=until, signal=signal):
            return node, f"waits {_for_what(signal, until)}"
        case events.SignalReceived(name=name, payload=payload, sent_by=by):
            return "", f"{name}{_by(by, 'from')} {as_json_line(payload)}"
        case events.InputReceived(input=given, sent_by=by):
            return "", f"for the run under way{_by(by, 'from')} {as_json_line(given)}"


def _for_what(signal: str, until: datetime | None) -> str:
    if not signal:
        return f"until {when(until)}"
    return f"for the signal {signal}" + (f", until {when(until)} at the latest" if until else "")


def _of_family(event: FamilyEvent) -> str:
    match event:
        case events.ChildrenStarted(children=children, total=total):
            return f"{len(children)} of {total} runs of its own started: {_few([child.run_id for child in children])}"
        case events.ChildrenJoined(children=children):
            return (
                f"{len(children)} of its runs ended: {_few([f'{child.place} {child.status}{_why(child.failure)}' for child in children])}"
            )
        case events.ChildrenStopped(failure=failure):
            return f"its runs are told to stop{_why(failure)}"
        case events.CompensationStarted(nodes=nodes, next=following):
            return f"takes back {', '.join(nodes)}{f', then goes on at {following}' if following else ''}"


def _of_run(event: RunEvent) -> tuple[str, str]:
    match event:
        case events.RunStarted(input=given, options=options, origin=origin):
            return "", " ".join(filter(None, (as_json_line(given), origin_words(origin), option_words(options))))
        case events.RunPaused(reason=reason, paused_by=by):
            return "", _said(_by(by), reason)
        case events.RunResumed(resumed_by=by):
            return "", _by(by).strip()
        case events.RunQuarantined(reason=reason, evidence=evidence):
            return "", _said("", "; ".join(filter(None, (reason, *evidence))))
        case events.VersionChanged(agent_digest=digest):
            return "", f"goes on with {digest[:12]}"
        case events.ThreadJoined(kept=kept):
            return "", f"its turn has come, with {as_json_line(kept)}"
        case events.RunFinished(status=status, failure=failure):
            return "", f"{status}{f' {failure.category} {failure.reason}: {failure.message}' if failure else ''}"


def origin_words(origin: RunOrigin | None) -> str:
    """Where the run comes from; empty for one that a client started."""
    if origin is None:
        return ""
    parts = []
    if origin.parent_run_id:
        parts.append(f"started by {origin.parent_run_id} at {origin.parent_seq}{f' ({origin.place})' if origin.place else ''}")
    if origin.forked_run_id:
        parts.append(f"forked from {origin.forked_run_id} at {origin.forked_seq}")
    if origin.steered_run_id:
        parts.append(f"with input for {origin.steered_run_id}, which ended without reading it")
    if origin.schedule:
        parts.append(f"started by schedule {origin.schedule}")
    return ", ".join(parts)


def option_words(options: RunOptions) -> str:
    """What is unusual about how the run was started; empty for nothing."""
    budget = options.budget
    limits = [
        f"{budget.steps} steps" if budget.steps else "",
        f"{budget.tokens} tokens" if budget.tokens else "",
        f"${budget.cost_micros / 1e6:g}" if budget.cost_micros else "",
        seconds(budget.seconds) if budget.seconds else "",
    ]
    policy = f" ({options.thread_policy})" if options.thread_policy not in {None, ThreadPolicy.ENQUEUE} else ""
    parts = [
        f"thread {options.thread_id}{policy}" if options.thread_id else "",
        f"priority {options.priority}" if options.priority not in {0, PRIORITY} else "",
        f"not before {when(options.start_at)}" if options.start_at else "",
        f"deadline {when(options.deadline)}" if options.deadline else "",
        f"key {options.concurrency_key}" if options.concurrency_key else "",
        f"at most {', '.join(filter(None, limits))}" if any(limits) else "",
        "follows the newest version" if options.follow_latest else "",
    ]
    return ", ".join(filter(None, parts))


def _few(words: list[str]) -> str:
    more = len(words) - _FEW
    return ", ".join(words[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _why(failure: "Failure | None") -> str:
    return f" ({failure.reason})" if failure else ""


def _by(who: str, word: str = "by") -> str:
    return f" {word} {who}" if who else ""


def _said(who: str, reason: str) -> str:
    return f"{who.strip()}: {reason}".removeprefix(": ") if reason else who.strip()
