"""Files in a workspace that no path leads out of."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from plimsoll_tool_dispatcher import workspace
from plimsoll_tool_dispatcher.handler import ToolRejected

Call = Callable[..., Awaitable[Any]]


async def test_what_is_written_is_read_and_listed(call: Call) -> None:
    assert await call("file_write", path="notes/today.md", text="one\ntwo\nthree\n") == {"path": "notes/today.md", "bytes": 14}
    assert await call("file_read", path="notes/today.md") == {"text": "one\ntwo\nthree\n", "lines": 3, "more": False}
    assert await call("file_read", path="notes/today.md", from_line=2, lines=1) == {"text": "two\n", "lines": 3, "more": True}
    [entry] = (await call("file_list"))["files"]
    assert (entry["path"], entry["bytes"]) == ("notes/today.md", 14)
    assert (await call("file_list", prefix="other"))["files"] == []


async def test_a_file_is_replaced_only_when_said_so_and_a_repeat_is_no_replacement(call: Call) -> None:
    await call("file_write", path="a.txt", text="one")
    await call("file_write", path="a.txt", text="one")
    with pytest.raises(ToolRejected, match="FILE_EXISTS"):
        await call("file_write", path="a.txt", text="two")
    await call("file_write", path="a.txt", text="two", replace=True)
    assert (await call("file_read", path="a.txt"))["text"] == "two"


async def test_a_deleted_file_is_gone_and_deleting_again_says_so(call: Call) -> None:
    await call("file_write", path="a/b.txt", text="x")
    assert await call("file_delete", path="a/b.txt") == {"deleted": True}
    assert await call("file_delete", path="a/b.txt") == {"deleted": False}
    with pytest.raises(ToolRejected, match="NO_SUCH_FILE"):
        await call("file_read", path="a/b.txt")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../x",
            "/etc/passwd",
            "a/../../x",
            "a//b",
            "./a",
            "a/.",
            ".hidden",
            "a/.ssh/id",
            "a\0b",
            "a\nb",
            "~root",
            "a/",
            "C:\\x",
            "a\\..\\b",
        ),
        *("é", "a" * 101, "/".join("abcdefghi"), "a.", " a", "%2e%2e/x", "con:", "a/b\u202e"),
    ],
)
@pytest.mark.parametrize("tool", ["file_read", "file_write", "file_delete"])
async def test_a_path_that_could_lead_elsewhere_is_refused(call: Call, tool: str, path: str) -> None:
    with pytest.raises(ToolRejected, match="BAD_PATH"):
        await call(tool, path=path, **({"text": "x"} if tool == "file_write" else {}))


async def test_tenants_do_not_see_each_other_whatever_they_are_called(call: Call, credentials: dict[str, str]) -> None:
    for tenant in ("acme", "..", ".", "../acme", "a/b", "acme%2F", "~"):
        await call("file_write", tenant=tenant, path="mine.txt", text=tenant, replace=True)
    for tenant in ("acme", "..", "a/b"):
        assert (await call("file_read", tenant=tenant, path="mine.txt"))["text"] == tenant
    root = Path(credentials["workspace_directory"])
    assert len(os.listdir(root)) == 7
    assert os.listdir(root.parent) == [root.name]


@pytest.mark.parametrize("tool", ["file_read", "file_write", "file_delete"])
async def test_links_are_not_followed(call: Call, credentials: dict[str, str], tmp_path: Path, tool: str) -> None:
    await call("file_write", path="a.txt", text="x")
    home = Path(credentials["workspace_directory"]) / "acme"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    os.symlink(tmp_path / "outside", home / "link")
    os.symlink(tmp_path / "outside" / "secret.txt", home / "file.txt")
    arguments = {"text": "x", "replace": True} if tool == "file_write" else {}
    if tool == "file_delete":
        assert await call(tool, path="link/secret.txt") == {"deleted": False}
    else:
        with pytest.raises(ToolRejected, match="NO_SUCH_FILE"):
            await call(tool, path="link/secret.txt", **arguments)
    if tool == "file_read":
        with pytest.raises(ToolRejected, match="NO_SUCH_FILE"):
            await call(tool, path="file.txt")
    else:
        await call(tool, path="file.txt", **arguments)
    assert (tmp_path / "outside" / "secret.txt").read_text() == "secret"
    assert [entry["path"] for entry in (await call("file_list"))["files"] if entry["path"].startswith("link")] == []


async def test_a_pipe_in_the_workspace_holds_nobody_up(call: Call, credentials: dict[str, str]) -> None:
    await call("file_write", path="a.txt", text="x")
    os.mkfifo(Path(credentials["workspace_directory"]) / "acme" / "pipe")
    with pytest.raises(ToolRejected, match="NO_SUCH_FILE"):
        await call("file_read", path="pipe")


async def test_a_workspace_has_an_end(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MAX_FILES", 2)
    monkeypatch.setattr(workspace, "MAX_TENANT_BYTES", 100)
    await call("file_write", path="a.txt", text="x" * 60)
    with pytest.raises(ToolRejected, match="WORKSPACE_FULL"):
        await call("file_write", path="b.txt", text="x" * 60)
    await call("file_write", path="a.txt", text="x" * 90, replace=True)
    await call("file_write", path="b.txt", text="x")
    with pytest.raises(ToolRejected, match="WORKSPACE_FULL"):
        await call("file_write", path="c.txt", text="x")


async def test_what_is_not_text_or_is_a_folder_is_told(call: Call, credentials: dict[str, str]) -> None:
    await call("file_write", path="a/b.txt", text="x")
    (Path(credentials["workspace_directory"]) / "acme" / "bin").write_bytes(b"\xff\xfe")
    with pytest.raises(ToolRejected, match="NOT_TEXT"):
        await call("file_read", path="bin")
    with pytest.raises(ToolRejected, match="NOT_A_FILE"):
        await call("file_write", path="a", text="x", replace=True)
    with pytest.raises(ToolRejected, match="NOT_A_FILE"):
        await call("file_delete", path="a")
    assert [entry["path"] for entry in (await call("file_list"))["files"]] == ["a/b.txt", "bin"]
