"""Declaration files."""

import textwrap

import pytest
from plimsoll_tool_dispatcher.domain.declaration import Declaration, parse_declaration
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.tool import PythonSource, Retry, Risk

TOOL = """
  - name: find_account
    version: "1"
    description: Finds an account
    arguments: {type: object, required: [id], properties: {id: {type: integer}}}
    result: {type: object}
    effect: read_only
    risk: low
    timeout: 5s
"""
CODE = "async def find_account(arguments, context): ...\n"


def parse(text: str, code: str | None = CODE) -> Declaration:
    return parse_declaration(textwrap.dedent(text), stem="accounts", code=code, code_path="/tools/accounts.py")


def with_tool(tool: str = TOOL, head: str = "category: accounts\ncredentials: [shop_database]\ntools:") -> str:
    return head + tool


def problems(declaration: Declaration) -> dict[str, str]:
    assert all(problem.remedy for problem in declaration.problems)
    return {problem.field: problem.problem for problem in declaration.problems}


def test_a_file_becomes_tools() -> None:
    declaration = parse(with_tool())
    assert declaration.problems == ()
    assert declaration.credentials == ("shop_database",)
    [tool] = declaration.tools
    assert (tool.name, tool.version, tool.category, tool.description) == ("find_account", "1", "accounts", "Finds an account")
    assert (tool.effect, tool.risk, tool.timeout_s, tool.concurrency) == (EffectClass.READ_ONLY, Risk.LOW, 5.0, 16)
    assert (tool.retry, tool.source) == (Retry(attempts=3, backoff_s=0.2), PythonSource(path="/tools/accounts.py"))
    assert tool.credentials == ("shop_database",)


def test_concurrency_and_retry_can_be_declared() -> None:
    [tool] = parse(with_tool(TOOL + "    concurrency: 2\n    retry: {attempts: 1, backoff: 500ms}\n")).tools
    assert (tool.concurrency, tool.retry) == (2, Retry(attempts=1, backoff_s=0.5))


@pytest.mark.parametrize(("written", "seconds"), [("500ms", 0.5), ("30s", 30.0), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3600.0)])
def test_timeouts_are_durations(written: str, seconds: float) -> None:
    [tool] = parse(with_tool(TOOL.replace("5s", written))).tools
    assert tool.timeout_s == seconds


def test_the_digest_names_the_definition() -> None:
    [one], [same] = parse(with_tool()).tools, parse(with_tool().replace("5s", "5000ms")).tools
    assert one.digest == same.digest
    for before, after in [
        ("Finds an account", "Finds it"),
        ("read_only", "keyed"),
        ("low", "high"),
        ("5s", "6s"),
        ('"1"', '"2"'),
        ("integer", "number"),
        ("shop_database", "another"),
        ("timeout: 5s", "timeout: 5s\n    concurrency: 3"),
        ("timeout: 5s", "timeout: 5s\n    retry: {attempts: 2}"),
    ]:
        [changed] = parse(with_tool().replace(before, after)).tools
        assert changed.digest != one.digest, before


def test_every_mistake_is_told_at_once_with_file_field_and_remedy() -> None:
    declaration = parse(
        """
        category: Accounts
        credentials: [../../etc/passwd, shop, shop]
        colour: blue
        tools:
          - name: Find-Account
            version: 1
            arguments: {type: array}
            result: {type: 5}
            effect: harmless
            timeout: 5
            concurrency: many
            retry: {attempts: 0, delay: 1s}
          - find_account
        """
    )
    assert set(problems(declaration)) == {
        "category",
        "credentials[0]",
        "credentials[2]",
        "colour",
        "tools[0].name",
        "tools[0].version",
        "tools[0].description",
        "tools[0].arguments.type",
        "tools[0].result.type",
        "tools[0].effect",
        "tools[0].risk",
        "tools[0].timeout",
        "tools[0].concurrency",
        "tools[0].retry.attempts",
        "tools[0].retry.delay",
        "tools[1]",
    }
    assert declaration.tools == ()


def test_one_broken_tool_does_not_hide_the_others() -> None:
    broken = TOOL.replace("find_account", "find_other").replace("read_only", "harmless")
    declaration = parse(with_tool(TOOL + broken), CODE + "async def find_other(a, c): ...")
    assert [tool.name for tool in declaration.tools] == ["find_account"]
    assert set(problems(declaration)) == {"tools[1].effect"}


def test_a_file_and_its_category_have_one_name() -> None:
    assert problems(parse(with_tool().replace("category: accounts", "category: orders"))) == {
        "category": "is 'orders' in a file named 'accounts'"
    }


@pytest.mark.parametrize(
    ("code", "field", "problem"),
    [
        (None, "/tools/accounts.py", "does not exist"),
        ("def broken(:\n", "/tools/accounts.py:1", "is not Python"),
        ("x = 1\n\ny = = 2\n", "/tools/accounts.py:3", "is not Python"),
        ("\0", "/tools/accounts.py:1", "is not Python"),
        ("", "tools[0].name", "has no function find_account"),
        ("def find_account(arguments, context): ...", "tools[0].name", "is not async"),
        ("class find_account: ...", "tools[0].name", "has no function find_account"),
    ],
)
def test_a_tool_needs_an_async_function_of_its_name(code: str | None, field: str, problem: str) -> None:
    declaration = parse(with_tool(), code)
    assert declaration.tools == ()
    assert list(problems(declaration)) == [field]
    assert problem in problems(declaration)[field]


@pytest.mark.parametrize(
    "text", ["", "just text", "[]", "category: accounts", "category: accounts\ntools: []", "category: accounts\ntools: {}"]
)
def test_a_file_without_tools_says_so(text: str) -> None:
    declaration = parse(text)
    assert declaration.tools == ()
    assert problems(declaration)


def test_a_name_declared_twice_is_told() -> None:
    declaration = parse(with_tool(TOOL + TOOL))
    assert len(declaration.tools) == 1
    assert problems(declaration) == {"tools[1].name": "declares 'find_account' a second time"}


def test_text_that_is_no_yaml_is_told_with_its_line() -> None:
    assert list(problems(parse("category: accounts\ntools: [\n"))) == ["line 3, column 1"]
