"""A scripted upstream that speaks four dialects of model providers; the model's name says what happens, and each attempt is noted."""

from plimsoll_testkit.upstream.script import ANSWER, ARGUMENTS, REFUSAL, SHORT, SIGNATURE, THOUGHT, TOOL
from plimsoll_testkit.upstream.server import Attempt, Outcome, ScriptedUpstream, serving

__all__ = [
    "ANSWER",
    "ARGUMENTS",
    "REFUSAL",
    "SHORT",
    "SIGNATURE",
    "THOUGHT",
    "TOOL",
    "Attempt",
    "Outcome",
    "ScriptedUpstream",
    "serving",
]
