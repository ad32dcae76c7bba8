"""Lines that machines read, and that hold nothing they must not."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextvars import copy_context

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Internal
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.settings import Secret

PASSWORD = "correct horse battery staple"


class Output(io.StringIO):
    """A standard output that may be a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def lines(self) -> list[JsonObject]:
        return [orjson.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    told = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    logging.getLogger("plimsoll").setLevel(logging.NOTSET)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = told


def output(monkeypatch: pytest.MonkeyPatch, level: str = "INFO", *, terminal: bool = False) -> Output:
    out = Output(terminal=terminal)
    monkeypatch.setattr(sys, "stdout", out)
    logs.configure("probe", level)
    return out


def test_a_line_is_json_with_time_level_service_event_and_fields(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch)
    logs.get("probe").info("ship.arrived", {"berth": 7, "late": False, "draught": 2.5, "pilot": None, "name": "Größe 🚢\n"})
    [line] = out.lines()
    assert isinstance(line["time"], str)
    assert line["time"].endswith("Z")
    assert {name: value for name, value in line.items() if name != "time"} == {
        "level": "info",
        "service": "probe",
        "event": "ship.arrived",
        "berth": 7,
        "late": False,
        "draught": 2.5,
        "pilot": None,
        "name": "Größe 🚢\n",
    }


def test_bound_fields_are_in_every_line_of_their_block_and_in_no_other(monkeypatch: pytest.MonkeyPatch):
    out, log = output(monkeypatch), logs.get("probe")
    with logs.bound({"run_id": "run_1"}):
        with logs.bound({"tenant": "acme"}):
            log.info("inner", {"step": 1})
        log.info("outer")
    log.info("outside")
    assert [(line.get("run_id"), line.get("tenant"), line.get("step")) for line in out.lines()] == [
        ("run_1", "acme", 1),
        ("run_1", None, None),
        (None, None, None),
    ]


def test_no_field_replaces_what_every_line_has(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch)
    logs.get("probe").warning("real", {"event": "forged", "service": "forged", "level": "forged", "time": "forged"})
    assert "forged" not in out.getvalue()


def test_a_secret_is_masked_in_whatever_form_it_comes(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch, "DEBUG")
    secret = Secret(PASSWORD)
    logs.get("probe").debug("key", {"key": secret, "text": f"{secret}"})  # type: ignore[dict-item]
    assert PASSWORD not in out.getvalue()
    assert out.lines()[0]["key"] == "Secret(***)"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(), max_size=20), st.integers())
def test_whatever_is_logged_is_one_line_that_can_be_read(monkeypatch: pytest.MonkeyPatch, text: str, number: int):
    with monkeypatch.context() as patch:
        out = output(patch)
        logs.get("probe").info("odd", {"text": text, "number": number, "lone": "\ud800"})
        [line] = out.getvalue().splitlines()
        assert json.loads(line)["text"] == text


def test_the_level_holds_for_us_and_others_are_heard_from_warning_on(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch, "WARNING")
    logs.get("probe").info("unheard")
    logs.get("probe").warning("heard")
    logging.getLogger("somebody.else").info("unheard")
    logging.getLogger("somebody.else").warning("the %s is %s", "mast", "gone")
    assert [line["event"] for line in out.lines()] == ["heard", "the mast is gone"]


def test_no_output_lost_and_none_delayed_beyond_a_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch):
    class Counting(Output):
        flushes = 0

        def flush(self) -> None:
            if self.tell() > self.seen:
                self.flushes += 1
            self.seen = self.tell()

        seen = 0

    out = Counting()
    monkeypatch.setattr(sys, "stdout", out)
    logs.configure("probe", "INFO")

    async def work() -> int:
        for number in range(100):
            logs.get("probe").info("line", {"number": number})
        await asyncio.sleep(0)
        return out.flushes

    assert asyncio.run(work()) == 1
    logs.get("probe").info("outside of any loop")
    assert (len(out.lines()), out.flushes) == (101, 2)


# --- errors ------------------------------------------------------------------------------------------------------------------


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause  # noqa: TRY301 - to have a trace
    except Exception as caught:  # noqa: BLE001
        return caught


def test_an_error_tells_where_and_what_but_not_in_the_words_of_others(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch)
    quoting = raised(ValueError(f"Failing row contains ({PASSWORD})"))
    ours = raised(Internal("the ledger does not add up"), quoting)
    logs.get("probe").error("probe.failed", error=ExceptionGroup(PASSWORD, [ours, raised(FileNotFoundError(2, "gone", "/etc/keys"))]))
    told = str(out.lines()[0]["error"])
    assert PASSWORD not in told
    for part in ("ExceptionGroup", "ValueError", "which led to", "Internal: the ledger does not add up", "/etc/keys", "in raised"):
        assert part in told


def test_at_the_level_debug_an_error_is_told_in_full(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch, "DEBUG")
    logs.get("probe").error("probe.failed", error=raised(ValueError("the bilge is full")))
    assert "ValueError: the bilge is full" in str(out.lines()[0]["error"])


def test_an_error_that_leads_to_itself_ends(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch)
    first, second = ValueError("1"), KeyError("2")
    first.__cause__, second.__cause__ = second, first
    logs.get("probe").error("probe.failed", error=first)
    assert "KeyError" in str(out.lines()[0]["error"])


def test_on_a_terminal_a_line_is_for_people(monkeypatch: pytest.MonkeyPatch):
    out = output(monkeypatch, terminal=True)
    logs.get("probe").warning("ship.late", {"berth": 7})
    logs.get("probe").error("ship.lost", error=raised(ValueError("in the fog")))
    first, *rest = out.getvalue().splitlines()
    assert first.split()[1:] == ["WARNING", "probe", "ship.late", "berth=7"]
    assert rest[-1] == "ValueError: in the fog"


def test_what_is_noted_about_a_request_is_on_the_line_at_its_end_and_on_no_other() -> None:
    fields: dict[str, logs.Field] = {"method": "Dispatch", "tenant": "acme"}
    logs.note({"lost": True})  # nobody writes a line

    def request() -> None:
        logs.begin_line(fields, alone="method")
        logs.note({"tool": "find_account"})
        assert dict(logs._bound.get()) == {"tenant": "acme"}

    copy_context().run(request)  # as a task does
    assert fields == {"method": "Dispatch", "tenant": "acme", "tool": "find_account"}
    assert dict(logs._bound.get()) == {}
