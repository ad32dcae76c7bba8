"""What conversations are made of crosses the wire whole; what cannot be read is refused with its field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.model_router.v1 import message_pb2 as msg
from plimsoll_model_router.domain.conversion import ConversionKind, Report
from plimsoll_model_router.domain.generation import Began, Progress, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Effort, Sampling, StopReason, ToolChoice
from plimsoll_model_router.errors import InvalidGeneration
from plimsoll_model_router.transport import message_codec as codec


@given(
    st.none() | st.floats(0, 2),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.lists(st.sampled_from(["END", ""]), max_size=3).map(tuple),
)
def test_zero_and_nothing_are_told_apart(temperature: float | None, top_p: float | None, seed: int | None, stop: tuple[str, ...]) -> None:
    wire = msg.Sampling(temperature=temperature, top_p=top_p, seed=seed, stop=stop)
    read = codec.sampling_from_proto(msg.Sampling.FromString(wire.SerializeToString()))
    assert read == Sampling(temperature=temperature, top_p=top_p, seed=seed, stop=stop)


def test_every_choice_effort_and_stop_reason_has_a_code() -> None:
    assert {codec.choice_from_proto(code, "f") for code in msg.ToolChoice.values()} == set(ToolChoice)
    assert {codec.effort_from_proto(code, "f") for code in msg.Effort.values()} == {None, *Effort}
    assert {codec.stop_to_proto(reason) for reason in StopReason} == set(msg.StopReason.values()) - {msg.STOP_REASON_UNSPECIFIED}
    report = Report()
    for kind in ConversionKind:
        getattr(report, kind.value)("temperature", "why")
    codes = {codec.conversion_to_proto(told).kind for told in report.conversions}
    assert codes == set(msg.ConversionKind.values()) - {msg.CONVERSION_KIND_UNSPECIFIED}


def test_codes_of_a_newer_caller_are_refused_with_their_field() -> None:
    with pytest.raises(InvalidGeneration, match=r"generation\.tool_choice: is 99"):
        codec.choice_from_proto(99, "generation.tool_choice")
    with pytest.raises(InvalidGeneration, match=r"generation\.effort: is 99"):
        codec.effort_from_proto(99, "generation.effort")


def test_every_piece_of_a_stream_is_an_event_of_its_own_kind_under_its_attempt() -> None:
    deltas = {
        "began": Began(provider="p", model="m"),
        "text": TextDelta(text="a"),
        "reasoning": ReasoningDelta(text="b"),
        "tool_call": ToolCallDelta(index=1, call_id="c", tool="t", arguments="{"),
    }
    for kind, delta in deltas.items():
        event = codec.progress_to_proto(Progress(attempt=3, delta=delta))
        assert (event.attempt, event.WhichOneof("event")) == (3, kind)
    call = codec.progress_to_proto(Progress(attempt=1, delta=deltas["tool_call"])).tool_call
    assert (call.index, call.call_id, call.tool, call.arguments) == (1, "c", "t", "{")


def test_what_was_converted_is_told_once() -> None:
    report = Report()
    for _ in range(2):
        report.dropped("reasoning", "why")
    [told] = map(codec.conversion_to_proto, report.conversions)
    assert (told.kind, told.subject, told.detail) == (msg.CONVERSION_KIND_DROPPED, "reasoning", "why")
