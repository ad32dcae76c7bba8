"""Letters: when what is said to a run is taken in, and when it is left for who comes after it."""

from plimsoll_orchestrator.domain.letters import InputSent, Received, SignalSent, answer
from plimsoll_orchestrator.domain.run import Run

RUN = Run(run_id="run_1", tenant="acme", agent="chat", agent_digest="f")
INPUT = Received(number=1, letter=InputSent(input_id="i1", input={"say": "new"}))
SIGNAL = Received(number=2, letter=SignalSent(signal_id="s1", name="go"))


def test_between_two_steps_input_is_taken_in() -> None:
    assert answer(RUN, [INPUT, SIGNAL]).numbers == (1, 2)


def test_a_run_that_is_about_to_fail_takes_no_input_that_it_would_take_with_it() -> None:
    assert answer(RUN, [INPUT, SIGNAL], failing=True).numbers == (2,)
