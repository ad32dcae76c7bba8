"""Logs stay bounded, and no reader loses a line that was not rotated away."""

from pathlib import Path

from plimsoll_devstack.log_files import grown, rotate, tail


def test_a_large_log_moves_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100 + b"\n")
        assert rotate(log, largest_bytes=100)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "gateway.log.1").read_bytes() == b"x" * 100 + b"\n"


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("few\n")
    assert not rotate(log, largest_bytes=100)
    assert log.read_text() == "few\n"


def test_tail_gives_the_last_lines_and_grown_goes_on_from_there(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("one\ntwo\nthree\n")
    lines, position = tail(log, 2)
    assert lines == ["two", "three"]
    with log.open("a") as writer:
        writer.write("four\nfi")
    lines, position = grown(log, position)
    assert lines == ["four"]
    with log.open("a") as writer:
        writer.write("ve\n")
    assert grown(log, position)[0] == ["five"]


def test_following_survives_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("one\ntwo\n")
    _, position = tail(log, 10)
    log.write_text("new\n")
    assert grown(log, position)[0] == ["new"]


def test_a_log_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 10) == ([], 0)
    assert grown(tmp_path / "none.log", 0) == ([], 0)
