"""Pages of the web, against a server that tries everything."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable
from tools_on_board import load

Call = Callable[..., Awaitable[Any]]

PAGE = """<!doctype html><html><head><title>A &amp; B</title><style>p {}</style></head><body><script>steal()</script>
<h1>Tents</h1><p>One   tent<br>two&nbsp;tents</p><ul><li>a<li>b</ul><svg><text>no</text></svg><noscript>no</noscript></body></html>"""


@pytest.fixture
async def server(credentials: dict[str, str]) -> AsyncIterator[HostileHttp]:
    async with HostileHttp().serving() as server:
        credentials["web_origins"] = f"allow: {server.url}, 127.0.0.1/32"
        yield server


async def test_a_page_is_its_readable_text(call: Call, server: HostileHttp, handlers_of_web: Any) -> None:
    page = handlers_of_web._Page()
    page.feed(PAGE)
    page.close()
    assert page.title == "A & B"
    assert page.text() == "Tents\n\nOne tent\ntwo tents\n\na\nb"


async def test_json_and_errors_come_with_their_status(call: Call, server: HostileHttp) -> None:
    server.pages["/data"] = b'{"a": 1}'
    assert await call("web_fetch", url=server.url + "/data") == {
        "url": server.url + "/data",
        "status": 200,
        "media": "application/json",
        "title": "",
        "text": '{"a": 1}',
        "more": False,
    }
    assert (await call("web_fetch", url=server.url + "/status/404"))["status"] == 404


async def test_long_pages_come_in_parts(call: Call, server: HostileHttp) -> None:
    server.pages["/long"] = b"x" * 250
    first = await call("web_fetch", url=server.url + "/long", characters=100)
    last = await call("web_fetch", url=server.url + "/long", characters=100, from_character=200)
    assert (len(first["text"]), first["more"], len(last["text"]), last["more"]) == (100, True, 50, False)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data", "http://localhost/", "http://10.0.0.1/", "file:///etc/passwd"),
        *("http://2130706433/", "http://[::1]/", "gopher://x/xxxxx", "http://user@127.0.0.1/"),
    ],
)
async def test_s01_s04_what_the_operator_did_not_open_is_not_reached(call: Call, server: HostileHttp, url: str) -> None:
    with pytest.raises(ToolRejected, match="EGRESS_REFUSED"):
        await call("web_fetch", url=url)


async def test_s01_any_public_host_does_not_mean_any_host(call: Call, server: HostileHttp, credentials: dict[str, str]) -> None:
    credentials["web_origins"] = "allow: * http://*"
    for url in ("http://localhost/", "https://127.0.0.1/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(ToolRejected, match="EGRESS_REFUSED"):
            await call("web_fetch", url=url)


async def test_s03_a_redirect_elsewhere_is_refused(call: Call, server: HostileHttp) -> None:
    with pytest.raises(ToolRejected, match="EGRESS_REFUSED"):
        await call("web_fetch", url=f"{server.url}/redirect?to={quote('http://169.254.169.254/')}")


@pytest.mark.parametrize("path", ["/huge", "/endless", "/many-headers", "/not-http", "/bytes"])
async def test_t12_what_is_too_large_or_no_text_is_refused(call: Call, server: HostileHttp, path: str) -> None:
    with pytest.raises(ToolRejected):
        await call("web_fetch", url=server.url + path)


@pytest.mark.parametrize("path", ["/cut-body", "/dead"])
async def test_a_cut_page_is_not_taken_for_a_whole_one(call: Call, server: HostileHttp, path: str) -> None:
    with pytest.raises(ConnectionError):
        await call("web_fetch", url=server.url + path)


async def test_a_server_that_is_busy_is_asked_again_later(call: Call, server: HostileHttp) -> None:
    with pytest.raises(ToolUnavailable):
        await call("web_fetch", url=server.url + "/status/503")


@pytest.mark.parametrize("origins", ["*", "allow: ftp://x", "", "deny: *"])
async def test_a_list_of_origins_with_a_mistake_opens_nothing(
    call: Call, server: HostileHttp, credentials: dict[str, str], origins: str
) -> None:
    credentials["web_origins"] = origins
    with pytest.raises(ToolRejected, match="MISCONFIGURED"):
        await call("web_fetch", url=server.url + "/data")


@pytest.fixture
def handlers_of_web() -> Any:
    return load("web")


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["<p>", "</p>", "<script>", "</script>", "x", "<title>", "&#0;", "<![CDATA["])).map("".join)
)
def test_whatever_a_page_holds_reading_it_ends_in_text(page: str) -> None:
    parser = load("web")._Page()
    parser.feed(page)
    parser.close()
    assert isinstance(parser.text(), str)
