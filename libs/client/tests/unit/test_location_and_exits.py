"""Where the mesh is looked for, how often a call is repeated, and what an error means to a shell."""

from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client.backoff import Backoff
from plimsoll_client.cli.exits import Exit, exit_code, explained
from plimsoll_client.errors import BadAddress, BadInput, NoKey, NoMesh, Unreachable
from plimsoll_client.location import data_directory, endpoint, find_endpoint
from plimsoll_runtime.errors import (
    BY_KIND,
    Conflict,
    DeadlineExpired,
    Denied,
    ErrorKind,
    Exhausted,
    FieldProblem,
    Internal,
    Invalid,
    NotFound,
    PlimsollError,
    Unauthenticated,
)


def _mesh(folder: Path, *, phase: str = "ready") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mesh.json").write_bytes(
        orjson.dumps({"phase": phase, "grpc_address": "127.0.0.1:7700", "api_key_file": str(folder / "api-key")})
    )
    (folder / "api-key").write_text("local-key\n")
    return folder


def test_the_environment_comes_first(tmp_path: Path) -> None:
    environ = {"PLIMSOLL_ADDRESS": "mesh.example:443", "PLIMSOLL_API_KEY": "k"}
    _mesh(tmp_path / ".plimsoll")
    found = find_endpoint(None, environ, cwd=tmp_path, home=tmp_path)
    assert (found.target, found.tls, found.api_key) == ("mesh.example:443", True, "k")


def test_a_chosen_directory_beats_the_environment(tmp_path: Path) -> None:
    chosen = _mesh(tmp_path / "chosen")
    found = find_endpoint(chosen, {"PLIMSOLL_ADDRESS": "mesh.example:443"}, cwd=tmp_path, home=tmp_path)
    assert (found.target, found.tls, found.api_key) == ("127.0.0.1:7700", False, "local-key")


def test_the_data_directory_is_looked_for_in_order(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "work"
    cwd.mkdir()
    assert data_directory(None, {}, cwd=cwd, home=home) == home / ".local/share/plimsoll"
    (cwd / ".plimsoll").mkdir()
    assert data_directory(None, {}, cwd=cwd, home=home) == cwd / ".plimsoll"
    assert data_directory(None, {"PLIMSOLL_DATA_DIR": "/d"}, cwd=cwd, home=home) == Path("/d")
    assert data_directory(Path("/c"), {"PLIMSOLL_DATA_DIR": "/d"}, cwd=cwd, home=home) == Path("/c")


@pytest.mark.parametrize("phase", ["starting", "stopping", "stopped", "failed"])
def test_a_mesh_that_is_not_ready_is_told_by_its_phase(tmp_path: Path, phase: str) -> None:
    with pytest.raises(NoMesh, match=phase) as caught:
        find_endpoint(_mesh(tmp_path, phase=phase), {}, cwd=tmp_path, home=tmp_path)
    assert "plimsoll" in caught.value.remedy


def test_no_mesh_and_a_damaged_record_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoMesh, match="no mesh is running") as caught:
        find_endpoint(tmp_path, {}, cwd=tmp_path, home=tmp_path)
    assert "plimsoll up" in caught.value.remedy
    (tmp_path / "mesh.json").write_text("{")
    with pytest.raises(NoMesh, match="is damaged"):
        find_endpoint(tmp_path, {}, cwd=tmp_path, home=tmp_path)


def test_a_key_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoKey, match="there is no API key"):
        endpoint("127.0.0.1:7700", "")
    (_mesh(tmp_path) / "api-key").unlink()
    with pytest.raises(NoKey, match="cannot be read"):
        find_endpoint(tmp_path, {}, cwd=tmp_path, home=tmp_path)


def test_a_key_never_prints() -> None:
    assert "secret-key" not in repr(endpoint("127.0.0.1:7700", "secret-key"))


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("127.0.0.1:7700", "127.0.0.1:7700", False),
        ("localhost:7700", "localhost:7700", False),
        ("[::1]:7700", "[::1]:7700", False),
        ("mesh.example:7700", "mesh.example:7700", True),
        ("10.0.0.7:7700", "10.0.0.7:7700", True),
        ("http://gateway:7700", "gateway:7700", False),
        ("https://127.0.0.1:7700/", "127.0.0.1:7700", True),
    ],
)
def test_plaintext_is_for_loopback_unless_the_address_says_otherwise(address: str, target: str, tls: bool) -> None:
    found = endpoint(address, "k")
    assert (found.target, found.tls) == (target, tls)


@pytest.mark.parametrize("address", ["", "localhost", "host:0", "host:port", "ftp://host:1", "host:1/path", "[::1", ":7700"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        endpoint(address, "k")


@given(st.integers(1, 20), st.integers(0, 2**32), st.floats(0, 10))
def test_waits_are_bounded_and_respect_the_mesh(tried: int, seed: int, asked_s: float) -> None:
    backoff = Backoff(tries=5, first_s=0.2, cap_s=3.0)
    wait_s = backoff.wait_s(tried, Random(seed), at_least_s=asked_s)
    if tried >= 5 or asked_s > 3.0:
        assert wait_s is None
    else:
        assert wait_s is not None
        assert asked_s <= wait_s <= 3.0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("x"), Exit.BAD_INPUT),
        (Invalid("x"), Exit.BAD_INPUT),
        (NotFound("x"), Exit.NOT_FOUND),
        (Unauthenticated("x"), Exit.NOT_ALLOWED),
        (Denied("x"), Exit.NOT_ALLOWED),
        (NoMesh("x"), Exit.UNAVAILABLE),
        (Unreachable("x"), Exit.UNAVAILABLE),
        (Exhausted("x"), Exit.UNAVAILABLE),
        (DeadlineExpired("x"), Exit.UNAVAILABLE),
        (Conflict("x"), Exit.OTHER),
        (Internal("x"), Exit.OTHER),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: PlimsollError, code: Exit) -> None:
    assert exit_code(error) is code


def test_no_kind_of_error_ends_with_success() -> None:
    assert all(exit_code(BY_KIND[kind]("x")) is not Exit.DONE for kind in ErrorKind)


def test_an_error_is_one_line_and_its_remedy() -> None:
    assert list(explained(NoMesh("no mesh is running", remedy="Run `plimsoll up`"))) == ["no mesh is running", "Run `plimsoll up`"]
    one = Invalid(problems=(FieldProblem("input.message", "is required", "add it"),))
    assert list(explained(one)) == ["input.message: is required (add it)"]


def test_several_problems_get_a_line_each() -> None:
    several = (FieldProblem("a.yaml:1", "is wrong", "mend it"), FieldProblem("b.yaml:2", "is worse"))
    assert list(explained(Invalid(problems=several))) == ["2 problems:", "  a.yaml:1: is wrong (mend it)", "  b.yaml:2: is worse"]
    assert next(explained(Invalid("2 mistakes", problems=several))) == "2 mistakes:"
