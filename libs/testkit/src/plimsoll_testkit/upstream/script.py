"""What a scripted upstream says and does, in no dialect yet: the model's name is the whole script."""

from dataclasses import dataclass, field

from plimsoll_runtime.json_types import JsonObject, JsonValue

# Sixty-four words, so that no part of it looks like the whole.
ANSWER = (
    "The parcel left the warehouse on Monday at noon and reached the sorting centre the same night where it waited for the early van "
    "that serves the northern villages because the bridge over the river is closed for repairs until the end of the month so the "
    "driver takes the long road along the coast and will ring your bell on Tuesday between nine and eleven exactly."
)
SHORT = "Let me look."
THOUGHT = "The customer asks where a parcel is."
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzY3JpcHRlZCB1cHN0cmVhbQ=="
REFUSAL = "I cannot help with that."
TOOL = "find_account"
ARGUMENTS: JsonObject = {"email": "ann@example.com"}

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS = 25, 5, 12, 3

PACE_S = 0.02
_TRIES = {"-once": 1, "-twice": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call as the upstream makes it: `written` is the arguments' text."""

    call_id: str
    arguments: JsonValue = field(default_factory=lambda: dict(ARGUMENTS))
    written: str = '{"email":"ann@example.com"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One model name, understood.

    Attributes:
    fault   what goes wrong, or what kind of answer it is; `fine` is a plain one
    tries   how many tries see it, before all is fine; 0 means all
    paced   the pieces of a stream come at a pace instead of at once
    """

    name: str
    fault: str
    tries: int = 0
    paced: bool = False

    def on_try(self, number: int) -> "Script":
        """The script as the try with this number sees it, from 1."""
        if self.tries and number > self.tries:
            return Script(name=self.name, fault="fine", paced=self.paced)
        return self

    @property
    def text(self) -> str:
        if self.fault in {"empty", "refusing"}:
            return ""
        return SHORT if self.calls else ANSWER

    @property
    def thinks(self) -> bool:
        return self.fault in {"thinking", "thinking-tools"}

    @property
    def refuses(self) -> bool:
        return self.fault == "refusing"

    @property
    def stops_at_limit(self) -> bool:
        return self.fault == "capped"

    @property
    def calls(self) -> tuple[Call, ...]:
        match self.fault:
            case "tools" | "thinking-tools":
                return (Call(call_id="call_01"),)
            case "parallel-tools":
                return Call(call_id="call_01"), Call(call_id="call_02")
            case "no-ids":
                return Call(call_id=""), Call(call_id="")
            case "same-ids":
                return Call(call_id="call_01"), Call(call_id="call_01")
            case "bad-arguments":
                return (Call(call_id="call_01", written='{"email": ann'),)
            case _:
                return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """What the upstream refuses with, in no dialect yet. `kind` is the word that each dialect has its own for."""

    status: int
    kind: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()
    pause_told: str = ""


ERRORS: dict[str, Error] = {
    "limited": Error(status=429, kind="limited", message="slow down", headers=(("retry-after", "2"),)),
    "limited-soon": Error(status=429, kind="limited", message="slow down", headers=(("retry-after", "0.05"),)),
    "limited-ms": Error(status=429, kind="limited", message="slow down", headers=(("retry-after-ms", "30"),)),
    "limited-body": Error(status=429, kind="limited", message="slow down", pause_told="0.05s"),
    "limited-bare": Error(status=429, kind="limited", message="slow down"),
    "limited-long": Error(status=429, kind="limited", message="slow down", headers=(("retry-after", "120"),)),
    "quota": Error(status=429, kind="quota", message="pay first"),
    "broken": Error(status=500, kind="broken", message="internal error"),
    "no-retry": Error(status=500, kind="broken", message="internal error", headers=(("x-should-retry", "false"),)),
    "unavailable": Error(status=503, kind="unavailable", message="no capacity"),
    "overloaded": Error(status=529, kind="overloaded", message="overloaded"),
    "bad-key": Error(status=401, kind="key", message="invalid key"),
    "no-model": Error(status=404, kind="model", message="model: not found"),
    "too-long": Error(status=400, kind="invalid", message="prompt is too long: 200000 tokens exceed the maximum context of 100000"),
    "bad-request": Error(status=400, kind="invalid", message="messages.0: wrong"),
}
ERROR_INSIDE = Error(status=500, kind="broken", message="failed after all")
LATE_ERROR = Error(status=529, kind="overloaded", message="overloaded")
BAD_SIGNATURE = Error(status=400, kind="invalid", message="messages.1.content.0: Invalid `signature` in `thinking` block")
BY_KEY = {"sk-revoked": ERRORS["bad-key"], "sk-limited": ERRORS["limited-long"], "sk-empty": ERRORS["quota"]}


def read(name: str) -> Script:
    """The script that a model's name stands for. Raises ValueError for a name that is none."""
    fault, paced, tries = name, False, 0
    if fault.endswith("-paced"):
        fault, paced = fault.removesuffix("-paced"), True
    for suffix, count in _TRIES.items():
        if fault.endswith(suffix):
            fault, tries = fault.removesuffix(suffix), count
    if fault not in FAULTS:
        raise ValueError(f"{name!r} is no script: use one of {', '.join(sorted(FAULTS))}, with -once or -twice, and -paced")
    return Script(name=name, fault=fault, tries=tries, paced=paced)


# What goes wrong on the connection, or in the middle of a stream; the server does it.
DEEDS = frozenset(
    {"html", "html-200", "error-inside", "late-error", "hang-up", "silent", "slow", "slow-start", "chatter", "cut", "clean-cut", "stall"}
    | {"malformed", "json", "limited-date", "limited-skewed", "flap", "bad-signature"}
)
# Kinds of answers; the dialects say them.
ANSWERS = frozenset(
    {"fine", "tools", "parallel-tools", "no-ids", "same-ids", "bad-arguments", "thinking", "thinking-tools", "capped", "refusing"}
    | {"empty", "no-choices", "no-end", "no-finish"}
)
FAULTS = frozenset(ERRORS) | DEEDS | ANSWERS


def words(text: str) -> list[str]:
    """The pieces that a text is streamed in; joined they are the text."""
    found = text.split(" ") if text else []
    return [word if at == 0 else f" {word}" for at, word in enumerate(found)]


def halves(written: str) -> tuple[str, str]:
    return written[: len(written) // 2], written[len(written) // 2 :]


def numbers(text: str, dimensions: int) -> list[JsonValue]:
    """A made-up vector: the same for the same text."""
    return [((sum(text.encode()) * (at + 7)) % 200 - 100) / 100 for at in range(dimensions or 8)]


def an_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
