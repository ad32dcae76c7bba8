"""Settings are read whole or not at all, every problem is told at once, and no secret ever prints."""

import dataclasses
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.settings import (
    InvalidSettings,
    NatsSettings,
    PostgresSettings,
    RedisSettings,
    Secret,
    ServerSettings,
    differences,
    load,
    nested,
    setting,
    variables,
)

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    power: int = setting(1, doc="kilowatts")
    fuel: Literal["wind", "coal"] = setting("wind", doc="wind or coal")

    def __post_init__(self) -> None:
        if self.fuel == "wind" and self.power > 10:
            raise ValueError("POWER: the wind gives no more than 10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship:
    name: str = setting(doc="as painted on the bow")
    key: Secret = setting(doc="opens the safe")
    draught: float = setting(2.5, doc="metres")
    afloat: bool = setting(True, doc="whether it floats")
    ports: tuple[str, ...] = setting((), doc="where it calls")
    log: Path | None = setting(None, doc="file of the log")
    engine: Engine = nested(Engine, "ENGINE_")


def ship(**environ: str) -> Ship:
    return load(Ship, "SHIP_", {f"SHIP_{name}": value for name, value in environ.items()})


def problems(**environ: str) -> list[FieldProblem]:
    with pytest.raises(InvalidSettings) as caught:
        ship(**environ)
    return list(caught.value.problems)


def test_every_type_is_read_and_the_rest_is_the_default():
    read = ship(NAME="Ada", KEY=PASSWORD, DRAUGHT="3", AFLOAT="false", PORTS="Kiel,Oslo", LOG="/var/log", ENGINE_POWER="7")
    assert read == Ship(
        name="Ada",
        key=Secret(PASSWORD),
        draught=3.0,
        afloat=False,
        ports=("Kiel", "Oslo"),
        log=Path("/var/log"),
        engine=Engine(power=7, fuel="wind"),
    )
    assert ship(NAME="Ada", KEY="k") == Ship(name="Ada", key=Secret("k"), engine=Engine())


def test_every_problem_is_told_at_once_with_what_the_variable_is_for():
    found = problems(DRAUGHT="deep", AFLOAT="maybe", ENGINE_POWER="1.5", ENGINE_FUEL="hope", ANKER="1", ENGINE_COLOUR="red")
    assert [(problem.field, problem.problem) for problem in found] == [
        ("SHIP_NAME", "is not set"),
        ("SHIP_KEY", "is not set"),
        ("SHIP_DRAUGHT", "is 'deep': not a number"),
        ("SHIP_AFLOAT", "is 'maybe': use true or false"),
        ("SHIP_ENGINE_POWER", "is '1.5': not a whole number"),
        ("SHIP_ENGINE_FUEL", "is 'hope': use one of wind, coal"),
        ("SHIP_ANKER", "is not a setting"),
        ("SHIP_ENGINE_COLOUR", "is not a setting"),
    ]
    assert found[0].remedy == "as painted on the bow"


def test_what_two_fields_say_together_is_checked_too():
    assert problems(NAME="Ada", KEY="k", ENGINE_POWER="11") == [FieldProblem("SHIP_ENGINE", "POWER: the wind gives no more than 10")]


def test_variables_of_others_are_no_business_of_ours():
    assert load(Ship, "SHIP_", {"SHIP_NAME": "Ada", "SHIP_KEY": "k", "PATH": "/bin", "SHIPYARD_ANKER": "1"}).name == "Ada"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_is_finite(text: str):
    assert [problem.field for problem in problems(NAME="Ada", KEY="k", DRAUGHT=text)] == ["SHIP_DRAUGHT"]


def test_an_empty_variable_is_one_that_is_not_set():
    assert ship(NAME="Ada", KEY="k", DRAUGHT="", ENGINE_POWER="").draught == 2.5
    assert [problem.field for problem in problems(NAME="", KEY="k")] == ["SHIP_NAME"]


# --- values from files -------------------------------------------------------------------------------------------------------


def test_a_value_may_come_from_a_file_without_the_newline_at_its_end(tmp_path: Path):
    (tmp_path / "key").write_text(f"{PASSWORD}\n")
    (tmp_path / "power").write_text("9\n")
    read = ship(NAME="Ada", KEY_FILE=str(tmp_path / "key"), ENGINE_POWER_FILE=str(tmp_path / "power"))
    assert (read.key.reveal(), read.engine.power) == (PASSWORD, 9)


def test_a_file_that_cannot_be_read_is_one_problem_that_names_it(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    found = problems(NAME_FILE=str(tmp_path), KEY_FILE=str(tmp_path / "gone"), DRAUGHT_FILE=str(tmp_path / "binary"))
    assert [str(problem).split(" (")[0] for problem in found] == [
        f"SHIP_NAME: cannot be read from {tmp_path}: Is a directory",
        f"SHIP_KEY: cannot be read from {tmp_path / 'gone'}: No such file or directory",
        f"SHIP_DRAUGHT: cannot be read from {tmp_path / 'binary'}: not text",
    ]


def test_a_value_and_a_file_contradict_each_other(tmp_path: Path):
    [problem] = problems(NAME="Ada", KEY=PASSWORD, KEY_FILE=str(tmp_path / "key"))
    assert (problem.field, problem.problem) == ("SHIP_KEY", "is set, and SHIP_KEY_FILE too: set one of the two")


# --- secrets -----------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_a_secret_shows_only_when_it_is_asked_to(text: str):
    secret = Secret(text)
    shown = [str(secret), repr(secret), f"{secret}", "%s" % secret, repr([secret]), orjson.dumps({"key": secret}, default=str).decode()]  # noqa: UP031
    assert {part for whole in shown for part in whole.split("'") if "ecret" in part} <= {
        "Secret(***)",
        "[Secret(***)]",
        '{"key":"Secret(***)"}',
    }
    assert secret.reveal() == text
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_no_form_of_the_settings_shows_a_secret():
    read = ship(NAME="Ada", KEY=PASSWORD)
    assert PASSWORD not in repr(read) + str(dataclasses.asdict(read)) + str(list(differences(read, "SHIP_")))


def test_no_problem_shows_a_secret():
    with pytest.raises(InvalidSettings) as caught:
        load(PostgresSettings, "DB_", {"DB_DSN": f"mysql://root:{PASSWORD}@db/x", "DB_POOL_MAX": "0", "DB_PASSWORD": PASSWORD})
    assert PASSWORD not in str(caught.value) + repr(caught.value) + str(caught.value.problems)


# --- showing -----------------------------------------------------------------------------------------------------------------


def test_what_differs_from_the_defaults_is_shown_as_its_variable_would_be_written():
    read = ship(NAME="Ada", KEY=PASSWORD, AFLOAT="0", PORTS="Kiel,Oslo", DRAUGHT="2.5", ENGINE_FUEL="coal")
    assert dict(differences(read, "SHIP_")) == {
        "SHIP_NAME": "Ada",
        "SHIP_KEY": "Secret(***)",
        "SHIP_AFLOAT": "false",
        "SHIP_PORTS": "Kiel,Oslo",
        "SHIP_ENGINE_FUEL": "coal",
    }


def test_the_variables_are_listed_with_type_default_and_meaning():
    listed = {variable.name: variable for variable in variables(Ship, "SHIP_")}
    assert list(listed) == [
        "SHIP_NAME",
        "SHIP_KEY",
        "SHIP_DRAUGHT",
        "SHIP_AFLOAT",
        "SHIP_PORTS",
        "SHIP_LOG",
        "SHIP_ENGINE_POWER",
        "SHIP_ENGINE_FUEL",
    ]
    assert (listed["SHIP_DRAUGHT"].type, listed["SHIP_DRAUGHT"].default, listed["SHIP_DRAUGHT"].doc) == ("number", "2.5", "metres")
    assert [variable.name for variable in listed.values() if variable.required] == ["SHIP_NAME", "SHIP_KEY"]


# --- the groups that services share ------------------------------------------------------------------------------------------


def server_problems(**environ: str) -> set[str]:
    with pytest.raises(InvalidSettings) as caught:
        load(ServerSettings, "X_", {f"X_{name}": value for name, value in environ.items()})
    return {problem.field for problem in caught.value.problems}


def test_a_server_needs_certificates_and_tells_all_else_that_is_wrong_with_it():
    missing = {"X_TLS_CA", "X_TLS_CERTIFICATE", "X_TLS_KEY"}
    assert server_problems() == missing
    wrong = server_problems(GRPC_LISTEN="here", ADMIN_LISTEN="0.0.0.0:70000", DRAIN_S="-1", REQUEST_CAP_S="0", MAX_MESSAGE_MIB="0")
    assert wrong == missing | {"X_GRPC_LISTEN", "X_ADMIN_LISTEN", "X_DRAIN_S", "X_REQUEST_CAP_S", "X_MAX_MESSAGE_MIB"}
    assert server_problems(INSECURE="true", LOG_LEVEL="LOUD") == {"X_LOG_LEVEL"}


def test_two_thirds_of_the_certificate_files_are_none():
    assert server_problems(TLS_CA="ca.pem", TLS_KEY="key.pem") == {"X_TLS"}


@pytest.mark.parametrize("listen", ["127.0.0.1:0", ":8080", "[::1]:65535", "example.org:443"])
def test_an_address_is_a_host_and_a_port(listen: str):
    assert load(ServerSettings, "X_", {"X_INSECURE": "true", "X_GRPC_LISTEN": listen}).grpc_listen == listen


@pytest.mark.parametrize(
    ("group", "variable", "good"),
    [
        (PostgresSettings, "DSN", "postgresql://role:p%40ss@one:5432,two:5432/plimsoll"),
        (NatsSettings, "URL", "nats://user:pass@one:4222,nats://user:pass@two:4222"),
        (RedisSettings, "URL", "redis://user:pass@host:6379/0"),
    ],
)
def test_the_url_of_a_server_is_for_that_kind_of_server(group: type, variable: str, good: str):
    load(group, "X_", {f"X_{variable}": good})
    with pytest.raises(InvalidSettings) as caught:
        load(group, "X_", {f"X_{variable}": good.replace("://", "x://")})
    assert [problem.field for problem in caught.value.problems] == [f"X_{variable}"]


@pytest.mark.parametrize(
    "environ", [{"POOL_MIN": "5", "POOL_MAX": "4"}, {"POOL_MIN": "-1"}, {"POOL_MIN": "0", "POOL_MAX": "0"}, {"STATEMENT_CAP_S": "0"}]
)
def test_a_pool_has_room_and_its_statements_time(environ: dict[str, str]):
    with pytest.raises(InvalidSettings):
        load(PostgresSettings, "X_", {"X_DSN": "postgresql://x"} | {f"X_{name}": value for name, value in environ.items()})
