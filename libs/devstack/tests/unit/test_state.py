"""What one process records about a mesh, any other reads; what it must not touch, it refuses."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_devstack.errors import Busy, NotWritable, OtherVersion
from plimsoll_devstack.processes import ProcessId
from plimsoll_devstack.state import MeshFiles, MeshState, PartPhase, PartState, Phase

_PROCESSES = st.none() | st.builds(ProcessId, pid=st.integers(1, 4_000_000), started_at=st.floats(0, 1e10))
_PARTS = st.builds(
    PartState,
    name=st.text(max_size=20),
    rank=st.integers(0, 3),
    phase=st.sampled_from(PartPhase),
    address=st.text(max_size=20),
    process=_PROCESSES,
    stop_signal=st.integers(1, 31),
    since=st.floats(0, 1e10),
    restarts=st.integers(0, 10_000),
    problem=st.text(max_size=50),
)
_STATES = st.builds(
    MeshState,
    phase=st.sampled_from(Phase),
    problem=st.text(max_size=50),
    agents=st.text(max_size=20),
    supervisor=_PROCESSES,
    http_url=st.text(max_size=20),
    grpc_address=st.text(max_size=20),
    api_key_file=st.text(max_size=20),
    parts=st.lists(_PARTS, max_size=5).map(tuple),
)


@given(state=_STATES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, state: MeshState) -> None:
    files = MeshFiles(tmp_path_factory.mktemp("mesh"))
    files.write(state)
    assert files.read() == state


def test_a_directory_without_a_mesh_has_no_state(tmp_path: Path) -> None:
    assert MeshFiles(tmp_path / "nothing").read() is None


@pytest.mark.parametrize(("field", "value"), [("format", 2), ("postgres", "17")])
def test_a_directory_of_another_version_is_refused_with_both_versions(tmp_path: Path, field: str, value: object) -> None:
    files = MeshFiles(tmp_path)
    files.write(MeshState(phase=Phase.STOPPED))
    files.state.write_bytes(orjson.dumps(orjson.loads(files.state.read_bytes()) | {field: value}))
    with pytest.raises(OtherVersion, match=str(value)) as refused:
        files.read()
    assert "--data" in refused.value.remedy


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "postgres": "18", "parts": 3}', "null"])
def test_a_damaged_state_is_refused_with_the_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "mesh.json").write_text(content)
    with pytest.raises(OtherVersion, match="damaged") as refused:
        MeshFiles(tmp_path).read()
    assert "remove that file" in refused.value.remedy


def test_one_at_a_time_holds_a_directory(tmp_path: Path) -> None:
    files = MeshFiles(tmp_path)
    with files.locked(), pytest.raises(Busy, match="another `plimsoll up`"), MeshFiles(tmp_path).locked():
        pass
    with files.locked():
        pass


def test_directories_side_by_side_do_not_meet(tmp_path: Path) -> None:
    with MeshFiles(tmp_path / "a").locked(), MeshFiles(tmp_path / "b").locked():
        pass


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(NotWritable, match="is a file") as refused, MeshFiles(tmp_path / "data").locked():
        pass
    assert "--data" in refused.value.remedy
