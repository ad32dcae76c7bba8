"""When the NATS server runs and has to be started anew."""

from pathlib import Path

import pytest
from plimsoll_devstack.servers.nats import NatsServer

WELL = "[7] 2026/01/02 03:04:05.000000 [INF] Server is ready\n"
FULL = (
    "[7] 2026/01/02 03:04:05.000000 [ERR] JetStream failed to store a msg on stream 'mesh > PLIMSOLL_MEMORY':"
    " write /data/1.blk: no space left on device\n"
)
BROKEN = "[7] 2026/01/02 03:04:05.000000 [ERR] Filestore [PLIMSOLL_MEMORY] Critical write error: write /data/1.blk: input/output error\n"


def server(folder: Path, log: str) -> NatsServer:
    (folder / "nats.log").write_text(log)
    return NatsServer(program=Path("nats-server"), directory=folder, port=1, passwords={}, log=folder / "nats.log")


@pytest.mark.parametrize(("line", "why"), [(FULL, "no space left on device"), (BROKEN, "input/output error")])
def test_a_stream_that_could_not_be_written_makes_the_server_sick(tmp_path: Path, line: str, why: str) -> None:
    assert server(tmp_path, WELL + line).sick(7).endswith(why)


def test_what_an_earlier_process_said_is_not_held_against_this_one(tmp_path: Path) -> None:
    assert server(tmp_path, FULL + WELL.replace("[7]", "[8]")).sick(8) == ""


def test_a_server_without_complaints_is_well(tmp_path: Path) -> None:
    assert server(tmp_path, WELL).sick(7) == ""
