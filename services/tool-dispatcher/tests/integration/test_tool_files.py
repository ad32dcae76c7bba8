"""Tools as files that come, change, break and go."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from plimsoll_runtime import logs
from plimsoll_tool_dispatcher.adapters.python_handlers.code import CategoryCode
from plimsoll_tool_dispatcher.adapters.python_handlers.files import ToolFiles
from tool_dispatcher_behaviour import ToolRegistryBehaviour
from tool_dispatcher_samples import ACME


def declare(*names: str, category: str = "shop", description: str = "Does it", credentials: str = "[]", **changed: str) -> str:
    lines = [f"category: {category}", f"credentials: {credentials}", "tools:"]
    for name in names:
        fields = {"version": '"1"', "arguments": "{type: object}", "result": "{}", "effect": "read_only", "risk": "low", "timeout": "5s"}
        fields |= {"description": description} | changed
        lines += [f"  - name: {name}", *(f"    {field}: {value}" for field, value in fields.items())]
    return "\n".join(lines)


def functions(*names: str) -> str:
    return "\n".join(f"async def {name}(arguments, context): return {{}}" for name in names)


class Directory:
    """A directory of tool files, and what was said about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[logging.LogRecord] = []
        self.refused: dict[str, str] = {}
        self.tried: list[str] = []

    def write(self, stem: str, declaration: str | bytes, code: str | None) -> None:
        (self.path / f"{stem}.yaml").write_bytes(declaration if isinstance(declaration, bytes) else declaration.encode())
        if code is not None:
            (self.path / f"{stem}.py").write_text(code)

    async def check(self, code: CategoryCode) -> str:
        """Refuses code that contains a word that the test chose."""
        self.tried.append(code.category)
        return next((problem for word, problem in self.refused.items() if word in code.text), "")

    def told(self, event: str) -> list[dict[str, object]]:
        return [record.fields for record in self.lines if record.getMessage() == event]  # type: ignore[attr-defined]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    (tmp_path / "tools").mkdir()
    directory = Directory(tmp_path / "tools")

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            directory.lines.append(record)

    logger, keep = logging.getLogger("plimsoll.test"), Keep()
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    yield directory
    logger.removeHandler(keep)


@pytest.fixture
def files(directory: Directory) -> ToolFiles:
    return ToolFiles([str(directory.path)], directory.path.parent / "credentials", logs.get("test"))


def names(files: ToolFiles) -> list[str]:
    return [tool.name for tool in files.list(ACME)]


class TestToolFiles(ToolRegistryBehaviour):
    @pytest.fixture
    async def registry(self, directory: Directory, files: ToolFiles) -> ToolFiles:
        directory.write("shop", declare("reject", "answer"), functions("reject", "answer"))
        await files.scan()
        return files


async def test_a_new_file_is_a_new_tool(directory: Directory, files: ToolFiles) -> None:
    await files.scan()
    assert names(files) == []
    directory.write("shop", declare("buy"), functions("buy"))
    await files.scan(directory.check)
    assert names(files) == ["buy"]
    found = files.find(ACME, "buy")
    assert found is not None
    code = files.code(found.source.path)
    assert code is not None
    assert (code.functions, code.text) == (("buy",), functions("buy"))


async def test_a_new_directory_is_found_by_its_pattern(tmp_path: Path) -> None:
    files = ToolFiles([str(tmp_path / "*" / "tools")], None, logs.get("test"))
    await files.scan()
    (tmp_path / "support" / "tools").mkdir(parents=True)
    Directory(tmp_path / "support" / "tools").write("shop", declare("buy"), functions("buy"))
    await files.scan()
    assert names(files) == ["buy"]


async def test_a_file_that_goes_takes_its_tools_along(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy"), functions("buy"))
    await files.scan()
    (directory.path / "shop.yaml").unlink()
    await files.scan()
    assert names(files) == []
    assert files.code(str(directory.path / "shop.py")) is None


async def test_a_changed_file_is_a_new_definition(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy"), functions("buy"))
    await files.scan()
    before = files.find(ACME, "buy")
    directory.write("shop", declare("buy", description="Does more"), functions("buy") + "\n# more")
    await files.scan(directory.check)
    after = files.find(ACME, "buy")
    assert before is not None
    assert after is not None
    assert (after.description, after.digest == before.digest) == ("Does more", False)
    assert directory.tried == ["shop"]


async def test_what_did_not_change_is_not_read_again(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy"), functions("buy"))
    await files.scan()
    await files.scan(directory.check)
    assert len(directory.told("tools.file_read")) == 1


@pytest.mark.parametrize(
    ("declaration", "code"),
    [
        ("tools: [", functions("buy")),
        (declare("buy", effect="harmless"), functions("buy")),
        (declare("buy", "sell"), functions("buy")),
        (declare("buy"), "def broken(:"),
        (declare("buy"), functions("sell")),
        (declare("buy", description="longer"), functions("buy") + "\nimport nothing_of_this_name"),
        (b"\xff\xfe\x00", functions("buy")),
        ("", functions("buy")),
        ("x" * 2_000_000, functions("buy")),
    ],
)
async def test_a_broken_file_never_replaces_a_good_one(directory: Directory, files: ToolFiles, declaration: str | bytes, code: str) -> None:
    directory.write("shop", declare("buy"), functions("buy"))
    directory.write("desk", declare("open_ticket", category="desk"), functions("open_ticket"))
    await files.scan()
    directory.refused["nothing_of_this_name"] = "cannot be loaded: ModuleNotFoundError at line 2"
    directory.write("shop", declaration, code)
    await files.scan(directory.check)
    assert names(files) == ["buy", "open_ticket"]
    kept = files.code(str(directory.path / "shop.py"))
    assert kept is not None
    assert kept.text == functions("buy")
    problems = directory.told("tools.file_broken")
    assert problems
    assert all(told["earlier_version_kept"] and told["remedy"] and "shop" in str(told["file"]) for told in problems)
    await files.scan(directory.check)
    assert directory.told("tools.file_broken") == problems, "a problem is told once"
    directory.write("shop", declare("buy", description="mended"), functions("buy"))
    await files.scan(directory.check)
    mended = files.find(ACME, "buy")
    assert mended is not None
    assert mended.description == "mended"


async def test_a_new_file_with_a_mistake_offers_the_rest(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy", "sell"), functions("buy"))
    await files.scan()
    assert names(files) == ["buy"]
    assert [told["field"] for told in directory.told("tools.file_broken")] == ["tools[1].name"]


async def test_of_fifty_files_one_broken_hides_none(directory: Directory, files: ToolFiles) -> None:
    for number in range(50):
        directory.write(
            f"shop{number}", declare(f"buy_{number}", category=f"shop{number}"), functions(f"buy_{number}") if number != 7 else "("
        )
    await files.scan()
    assert len(names(files)) == 49


async def test_a_name_belongs_to_the_file_that_had_it_first(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy"), functions("buy"))
    await files.scan()
    directory.write("again", declare("buy", "rent", category="again"), functions("buy", "rent"))
    await files.scan()
    found = files.find(ACME, "buy")
    assert found is not None
    assert (found.category, names(files)) == ("shop", ["buy", "rent"])
    assert len(directory.told("tools.name_taken")) == 1
    (directory.path / "shop.yaml").unlink()
    await files.scan()
    found = files.find(ACME, "buy")
    assert found is not None
    assert found.category == "again"


async def test_only_declared_credentials_are_handed_over_and_a_new_secret_is_new_code(directory: Directory, files: ToolFiles) -> None:
    secrets = directory.path.parent / "credentials"
    secrets.mkdir()
    (secrets / "shop_database").write_text("postgresql://old\n")
    (secrets / "another").write_text("not declared")
    directory.write("shop", declare("buy", credentials="[shop_database]"), functions("buy"))
    await files.scan()
    before = files.code(str(directory.path / "shop.py"))
    assert before is not None
    assert (dict(before.credentials), before.missing) == ({"shop_database": "postgresql://old"}, ())
    assert "postgresql" not in repr(before)
    (secrets / "shop_database").write_text("postgresql://newer\n")
    await files.scan(directory.check)
    after = files.code(str(directory.path / "shop.py"))
    assert after is not None
    assert dict(after.credentials) == {"shop_database": "postgresql://newer"}
    assert after.version != before.version


async def test_a_missing_credential_is_told_and_found_when_it_comes(directory: Directory, files: ToolFiles) -> None:
    directory.write("shop", declare("buy", credentials="[shop_database]"), functions("buy"))
    await files.scan()
    code = files.code(str(directory.path / "shop.py"))
    assert code is not None
    assert code.missing == ("shop_database",)
    assert [told["credential"] for told in directory.told("tools.credential_missing")] == ["shop_database"]
    secrets = directory.path.parent / "credentials"
    secrets.mkdir()
    (secrets / "shop_database").write_text("postgresql://here")
    await files.scan(directory.check)
    code = files.code(str(directory.path / "shop.py"))
    assert code is not None
    assert code.missing == ()


async def test_what_is_no_tool_file_is_left_alone(directory: Directory, files: ToolFiles) -> None:
    (directory.path / "notes.md").write_text("notes")
    (directory.path / "shop.sql").write_text("select 1")
    (directory.path / "folder.yaml").mkdir()
    await files.scan()
    assert names(files) == []
