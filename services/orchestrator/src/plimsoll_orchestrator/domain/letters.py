"""Letters: what reaches a run from outside while it lives. Kept in its mailbox until the run answers with an entry of its journal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from msgspec.structs import replace
from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_orchestrator.domain.journal import ChildrenJoined, Entry, InputReceived, Joined, RunStatus, SignalReceived
from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Run, last_calls_open
from plimsoll_orchestrator.errors import JournalBroken

_SIGNALS_CAP = 1000  # taken into the journal before a node waits for them


class _Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    pass


class SignalSent(_Letter, frozen=True, kw_only=True, tag="signal"):
    signal_id: str
    name: str
    payload: JsonValue = None
    sent_by: str = ""


class Successor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run that input becomes when the run that it was given to ends without reading it."""

    run_id: str
    agent_digest: str
    node: str
    options: RunOptions
    origin: RunOrigin


class InputSent(_Letter, frozen=True, kw_only=True, tag="input"):
    input_id: str
    input: JsonValue
    sent_by: str = ""
    successor: Successor | None = None


class ChildFinished(_Letter, frozen=True, kw_only=True, tag="child"):
    """`step` is the position of the parent's step that started the child."""

    step: int
    joined: Joined


class StopAsked(_Letter, frozen=True, kw_only=True, tag="stop"):
    """The run is to end as cancelled; `rollback` means that its thread stays as it was before it."""

    reason: str
    asked_by: str = ""
    rollback: bool = False


Letter: TypeAlias = SignalSent | InputSent | ChildFinished | StopAsked


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A letter on its way; the same id twice is one letter."""

    run_id: str
    letter_id: str
    letter: Letter


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in a mailbox; `number` counts up from 1 per run."""

    number: int
    letter: Letter


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Letter] = msgspec.json.Decoder(Letter)


def encode_letter(letter: Letter) -> str:
    return _encoder.encode(letter).decode()


def decode_letter(text: str) -> Letter:
    """Raises JournalBroken when the text is no letter of a kind that this version knows."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise JournalBroken(f"a letter cannot be read: {error}") from error


def stop_in(letters: Sequence[Received]) -> StopAsked | None:
    """The first demand to stop among the letters."""
    return next((one.letter for one in letters if isinstance(one.letter, StopAsked)), None)


@dataclass(frozen=True, slots=True)
class Answered:
    """Entries that take letters into the journal, and the numbers of the letters that are dealt with."""

    entries: tuple[Entry, ...]
    numbers: tuple[int, ...]


def answer(run: Run, letters: Sequence[Received], *, failing: bool = False) -> Answered:
    """Answer what can be answered now, in the order in which it came; children that came together become one entry.

    What was said twice, and what belongs to a step that is over, leaves no trace. Input waits for a safe point: between two
    steps, between two turns of an agent when no call is open, or in a wait: so that no call is left without a result. A run that is
    `failing` takes none: it could not do anything with it any more, and who ends with input unread leaves it to a run of its own.
    """
    entries: list[Entry] = []
    numbers: list[int] = []
    seen, waiting = set(run.seen), len(run.signals)
    for received in letters:
        match received.letter:
            case SignalSent(signal_id=letter_id) | InputSent(input_id=letter_id) if letter_id in seen:
                pass
            case SignalSent() if waiting >= _SIGNALS_CAP:
                continue  # stays in the mailbox, which is full at some time: then the sender learns of it
            case SignalSent(signal_id=signal_id, name=name, payload=payload, sent_by=sent_by):
                seen.add(signal_id)
                waiting += 1
                entries.append(SignalReceived(signal_id=signal_id, name=name, payload=payload, sent_by=sent_by))
            case InputSent(input_id=input_id, input=value, sent_by=sent_by):
                if failing or not _is_safe(run):
                    continue
                seen.add(input_id)
                entries.append(InputReceived(input_id=input_id, input=value, sent_by=sent_by))
            case ChildFinished(step=step, joined=joined):
                if run.step is not None and run.step.seq == step and joined.run_id in run.step.open:
                    place = joined.place or run.step.open[joined.run_id]  # one whose journal could not be read does not know it
                    _join(entries, run.step.node, replace(joined, place=place))
            case StopAsked():
                continue  # ends the run: see stop_in
        numbers.append(received.number)
    return Answered(tuple(entries), tuple(numbers))


def _is_safe(run: Run) -> bool:
    step = run.step
    return step is None or step.waiting or (bool(step.turns) and not last_calls_open(step))


def _join(entries: list[Entry], node: str, joined: Joined) -> None:
    last = entries[-1] if entries else None
    if isinstance(last, ChildrenJoined):
        entries[-1] = ChildrenJoined(node=node, children=(*last.children, joined))
    else:
        entries.append(ChildrenJoined(node=node, children=(joined,)))


def letters_of(before: Run, after: Run) -> tuple[Delivery, ...]:
    """What others have to learn when a run goes from `before` to `after`: its parent that it finished, its children that they are to stop."""
    if before.is_final:
        return ()
    deliveries: list[Delivery] = []
    stopping = after.step is not None and after.step.stopped is not None and (before.step is None or before.step.stopped is None)
    if (after.is_final or stopping) and before.step is not None:
        reason = f"run {before.run_id} does not need it any more"
        deliveries += [
            Delivery(run_id=child, letter_id="stop", letter=StopAsked(reason=reason, asked_by=before.run_id)) for child in before.step.open
        ]
    if after.is_final and after.origin.parent_run_id:
        output = after.output if after.status is RunStatus.SUCCEEDED else None
        joined = Joined(
            run_id=after.run_id,
            place=after.origin.place,
            status=after.status,
            output=output,
            size=len(dump_json(output)),
            failure=after.failure,
            usage=after.usage,
            rehearsal=after.rehearsal,
            labels=after.labels,
        )
        letter = ChildFinished(step=after.origin.parent_seq, joined=joined)
        deliveries.append(Delivery(run_id=after.origin.parent_run_id, letter_id=after.run_id, letter=letter))
    return tuple(deliveries)
