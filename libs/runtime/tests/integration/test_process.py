"""The life of a service as a process, from its settings to its last line."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit import eventually
from plimsoll_testkit.ports import free_port
from runtime_relay import relaying

TINY = Path(__file__).parents[1] / "tiny_service.py"
START_S, END_S = 30.0, 20.0


@pytest.fixture
def settings(postgres_dsn: str) -> dict[str, str]:
    return {"INSECURE": "true", "POSTGRES_DSN": postgres_dsn, "ADMIN_LISTEN": f"127.0.0.1:{free_port()}", "DRAIN_S": "5"}


class Running:
    """A process of the service, and what it said."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, admin: str) -> None:
        self.process, self._output, self._admin = process, output, admin

    def lines(self) -> list[JsonObject]:
        return [orjson.loads(line) for line in self._output.read_bytes().splitlines() if line.startswith(b"{")]

    def events(self) -> list[object]:
        return [line["event"] for line in self.lines()]

    def text(self) -> str:
        return self._output.read_text()

    async def ends_after(self, number: signal.Signals, within_s: float = END_S) -> int:
        self.process.send_signal(number)
        await eventually(lambda: self.process.poll() is not None, within_s=within_s)
        return self.process.wait()

    async def asks(self, path: str) -> tuple[int, str]:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{self._admin}{path}") as response:
                return response.status, await response.text()
        except aiohttp.ClientConnectionError:
            return 0, ""


@contextmanager
def running(settings: Mapping[str, str], output: Path, *arguments: str) -> Iterator[Running]:
    environ = {"PATH": os.environ["PATH"], **{f"PLIMSOLL_TINY_{name}": value for name, value in settings.items()}}
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, str(TINY), *arguments], env=environ, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Running(process, output, settings.get("ADMIN_LISTEN", ""))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_S)


async def test_a_service_becomes_ready_serves_and_drains_in_order(settings: dict[str, str], tmp_path: Path):
    with running(settings, tmp_path / "log") as service:
        await eventually(lambda: is_ready(service), within_s=START_S)
        assert await service.asks("/livez") == (200, "alive\n")
        status, metrics = await service.asks("/metrics")
        assert (status, "# TYPE plimsoll_rpc_seconds histogram" in metrics) == (200, True)
        assert await service.ends_after(signal.SIGTERM) == 0
        assert service.events() == ["service.started", "service.draining", "tiny.loop_done", "service.stopped", "tiny.let_go"]


async def is_ready(service: Running) -> bool:
    return (await service.asks("/readyz"))[0] == 200


async def test_a_service_whose_database_is_away_lives_waits_and_starts_when_it_comes(settings: dict[str, str], tmp_path: Path):
    async with relaying(settings["POSTGRES_DSN"]) as relay:
        await relay.close()
        with running(settings | {"POSTGRES_DSN": relay.url}, tmp_path / "log") as service:
            await eventually(lambda: service.events().count("service.waiting") >= 2, within_s=START_S)
            assert await service.asks("/livez") == (200, "alive\n")
            status, body = await service.asks("/readyz")
            assert (status, orjson.loads(body)) == (503, {"ready": False, "state": "waiting: DATABASE_UNAVAILABLE", "dependencies": {}})
            await relay.open()
            await eventually(lambda: is_ready(service), within_s=START_S)
            await relay.close()  # and when it goes again, the service stays and says so
            status, body = await service.asks("/readyz")
            assert (status, orjson.loads(body)["dependencies"]) == (503, {"postgres": "DATABASE_UNAVAILABLE"})
            assert (await service.asks("/livez"))[0] == 200
            await relay.open()
            await eventually(lambda: is_ready(service), within_s=START_S)
            assert await service.ends_after(signal.SIGINT) == 0


async def test_a_service_that_waits_or_hangs_at_its_start_still_stops_when_told(settings: dict[str, str], tmp_path: Path):
    async with relaying(settings["POSTGRES_DSN"]) as relay:
        relay.hold()  # accepts connections, and never answers
        with running(settings | {"POSTGRES_DSN": relay.url}, tmp_path / "log") as service:
            await eventually(lambda: answers(service), within_s=START_S)
            assert await service.ends_after(signal.SIGTERM, within_s=5) == 0
            assert "service.failed" not in service.events()


async def answers(service: Running) -> bool:
    return (await service.asks("/livez"))[0] == 200


@pytest.mark.parametrize(("loop", "reason"), [("fails", "ValueError"), ("ends", "LOOP_ENDED")])
async def test_a_loop_that_fails_ends_the_service_in_order_and_is_told(settings: dict[str, str], tmp_path: Path, loop: str, reason: str):
    with running(settings | {"LOOP": loop}, tmp_path / "log") as service:
        assert service.process.wait(START_S) == 1
        told = service.events()
        [failed, ended] = [line for line in service.lines() if line["level"] == "error"]
    assert sorted(told[:2], key=str) == ["service.loop_failed", "service.started"]  # it failed before or after the last server began
    assert told[2:] == ["service.draining", "service.stopped", "tiny.let_go", "service.failed"]
    assert (failed["loop"], ended["reason"]) == ("bilge pump", reason)
    assert "bilge" in str(failed["error"])


def test_a_taken_port_ends_the_service_with_its_name(settings: dict[str, str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(settings | {"GRPC_LISTEN": listen}, tmp_path / "log") as service:
            assert service.process.wait(START_S) == 1
            [failed] = service.lines()[-1:]
            assert (failed["event"], failed["message"]) == ("service.failed", f"cannot listen on {listen}: is the port taken?")
            assert "error" not in failed  # a trace would hide the reason


def test_a_certificate_that_is_missing_is_a_wrong_setting_told_before_any_server_is_asked(settings: dict[str, str], tmp_path: Path):
    settings |= {"POSTGRES_DSN": f"postgresql://nobody@127.0.0.1:{free_port()}/none"}
    missing = {f"TLS_{name}": str(tmp_path / "gone.pem") for name in ("CA", "CERTIFICATE", "KEY")}
    with running(settings | missing, tmp_path / "log") as service:
        assert service.process.wait(START_S) == 2
        [failed] = service.lines()[-1:]
    assert (failed["event"], failed["reason"]) == ("service.failed", "INVALID_SETTINGS")
    assert "gone.pem cannot be read: No such file" in str(failed["message"])


# --- tables, by the command line ---------------------------------------------------------------------------------------------


async def test_tables_are_made_once_by_job_or_service_in_any_order(settings: dict[str, str], tmp_path: Path):
    for number in (1, 2):  # the second finds nothing to do
        with running(settings, tmp_path / f"job-{number}", "--migrate") as job:
            assert job.process.wait(START_S) == 0
            assert job.events() == ["service.migrated"]
    with running(settings, tmp_path / "service") as service:
        await eventually(lambda: is_ready(service), within_s=START_S)
        with running(settings, tmp_path / "job-3", "--migrate") as job:  # beside a service that runs: its admin port is not needed
            assert job.process.wait(START_S) == 0
        assert (await service.asks("/readyz"))[0] == 200
        assert await service.ends_after(signal.SIGTERM) == 0


async def test_a_job_waits_for_its_database(settings: dict[str, str], tmp_path: Path):
    async with relaying(settings["POSTGRES_DSN"]) as relay:
        await relay.close()
        with running(settings | {"POSTGRES_DSN": relay.url}, tmp_path / "log", "--migrate") as job:
            await eventually(lambda: job.events().count("service.waiting") >= 2, within_s=START_S)
            await relay.open()
            await eventually(lambda: job.process.poll() is not None, within_s=START_S)
        assert job.process.returncode == 0
        assert job.events()[-1] == "service.migrated"
        assert {line["reason"] for line in job.lines()[:-1]} == {"DATABASE_UNAVAILABLE"}


async def test_a_job_that_is_stopped_before_its_work_is_done_says_so(settings: dict[str, str], tmp_path: Path):
    async with relaying(settings["POSTGRES_DSN"]) as relay:
        await relay.close()
        with running(settings | {"POSTGRES_DSN": relay.url}, tmp_path / "log", "--migrate") as job:
            await eventually(lambda: "service.waiting" in job.events(), within_s=START_S)
            assert await job.ends_after(signal.SIGTERM, within_s=5) == 1
        assert job.lines()[-1]["reason"] == "NOT_MIGRATED"


# --- settings, by the command line -------------------------------------------------------------------------------------------


def test_check_says_nothing_when_all_is_well_and_needs_no_server(tmp_path: Path):
    with running({"INSECURE": "true", "POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/none"}, tmp_path / "log", "--check") as service:
        assert (service.process.wait(START_S), service.text()) == (0, "")


def test_every_wrong_setting_is_listed_without_its_secrets(tmp_path: Path):
    wrong = {"POSTGRES_DSN": "mysql://root:hunter2@db", "POSTGRES_POOL_MAX": "many", "DRAIN_S": "long", "LOOP": "x", "PASSWORD": "hunter2"}
    with running(wrong, tmp_path / "log", "--check") as service:
        assert service.process.wait(START_S) == 2
        said = service.text().splitlines()
    assert said[0] == "tiny: the settings are wrong:"
    assert [line.split(":")[0].strip() for line in said[1:]] == [
        "PLIMSOLL_TINY_DRAIN_S",
        "PLIMSOLL_TINY_POSTGRES_POOL_MAX",
        "PLIMSOLL_TINY_LOOP",
        "PLIMSOLL_TINY_PASSWORD",
    ]
    assert "hunter2" not in "".join(said)


def test_print_config_shows_what_differs_from_the_defaults_and_masks_secrets(tmp_path: Path):
    (tmp_path / "dsn").write_text("postgresql://tiny:hunter2@db/plimsoll\n")
    given = {"INSECURE": "true", "POSTGRES_DSN_FILE": str(tmp_path / "dsn"), "DRAIN_S": "7.5", "POSTGRES_POOL_MAX": "8"}
    with running(given, tmp_path / "log", "--print-config") as service:
        assert service.process.wait(START_S) == 0
        assert service.text().splitlines() == [
            "PLIMSOLL_TINY_DRAIN_S=7.5",
            "PLIMSOLL_TINY_INSECURE=true",
            "PLIMSOLL_TINY_POSTGRES_DSN=Secret(***)",
        ]
