"""HTTP that leaves the mesh, against a server that tries everything."""

import asyncio
import resource
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote, urlsplit

import orjson
import pytest
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.egress import EgressGuard, EgressRefused, EgressRules, HostUnknown
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.outbound_http import (
    AnswerTooLate,
    AnswerUnfit,
    ConnectionBroken,
    HttpLimits,
    HttpRequest,
    OutboundHttp,
    RequestUnfit,
    Unreachable,
)
from plimsoll_testkit.hostile_http import HostileHttp
from yarl import URL

LIMITS = HttpLimits(total_s=5.0, answer_bytes=256 * 1024, redirects=3)


@pytest.fixture
async def server() -> AsyncIterator[HostileHttp]:
    async with HostileHttp().serving() as server:
        yield server


@pytest.fixture
async def http(server: HostileHttp) -> AsyncIterator[OutboundHttp]:
    async with OutboundHttp(EgressGuard(EgressRules.parse([server.url], ["127.0.0.1/32"])), LIMITS) as http:
        yield http


async def asked(http: OutboundHttp, server: HostileHttp, path: str, method: str = "GET") -> PlimsollError:
    with pytest.raises(PlimsollError) as raised:
        await http.send(HttpRequest(method=method, url=server.url + path))
    return raised.value


async def test_a_request_arrives_as_it_was_given(http: OutboundHttp, server: HostileHttp) -> None:
    request = HttpRequest(method="POST", url=server.url + "/echo?q=a%20b", headers={"X-Key": "k"}, body=b"{}")
    answer = await http.send(request)
    seen = orjson.loads(answer.body)
    assert (answer.status, seen["method"], seen["target"], seen["body"]) == (200, "POST", "/echo?q=a%20b", "{}")
    assert seen["headers"]["x-key"] == "k"
    assert seen["headers"]["host"] == urlsplit(server.url).netloc


async def test_an_error_status_is_an_answer_with_its_body(http: OutboundHttp, server: HostileHttp) -> None:
    answer = await http.send(HttpRequest(url=server.url + "/status/503?retry-after=2"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert b"the upstream says no" in answer.body


@pytest.mark.parametrize("path", ["/huge", "/endless", "/gzip-bomb"])
async def test_t12_an_answer_over_the_limit_is_given_up_before_it_is_held(http: OutboundHttp, server: HostileHttp, path: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(await asked(http, server, path), AnswerUnfit)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 96 * 1024


@pytest.mark.parametrize("path", ["/drip", "/hang"])
async def test_t12_an_answer_without_end_is_given_up_in_time(server: HostileHttp, path: str) -> None:
    guard = EgressGuard(EgressRules.parse([server.url], ["127.0.0.1/32"]))
    async with OutboundHttp(guard, HttpLimits(total_s=0.2)) as http:
        late = await asked(http, server, path)
    assert isinstance(late, AnswerTooLate)
    assert late.sent


async def test_the_callers_deadline_is_kept(http: OutboundHttp, server: HostileHttp) -> None:
    with expiring(0.1):
        assert isinstance(await asked(http, server, "/hang"), AnswerTooLate)


@pytest.mark.parametrize("path", ["/cut-headers", "/cut-body", "/dead", "/not-gzip"])
async def test_t12_a_cut_answer_is_never_taken_for_a_whole_one(http: OutboundHttp, server: HostileHttp, path: str) -> None:
    assert isinstance(await asked(http, server, path, "POST"), ConnectionBroken)


@pytest.mark.parametrize("path", ["/not-http", "/many-headers"])
async def test_an_answer_that_is_not_http_is_refused(http: OutboundHttp, server: HostileHttp, path: str) -> None:
    assert isinstance(await asked(http, server, path), AnswerUnfit)


async def test_a_closed_port_is_told_apart_as_nothing_sent() -> None:
    async with OutboundHttp(EgressGuard(EgressRules.parse(["http://127.0.0.1:1"], ["127.0.0.1/32"]))) as http:
        with pytest.raises(Unreachable):
            await http.send(HttpRequest(url="http://127.0.0.1:1/"))


async def test_a_private_address_in_the_url_is_refused_although_its_origin_is_allowed(server: HostileHttp) -> None:
    async with OutboundHttp(EgressGuard(EgressRules.parse([server.url]))) as http:
        assert isinstance(await asked(http, server, "/echo"), EgressRefused)
    assert server.received == []


async def test_s02_a_name_that_turns_private_between_two_calls_is_refused(server: HostileHttp) -> None:
    answers: list[Sequence[str]] = [["127.0.0.1"], ["10.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    port = urlsplit(server.url).port
    guard = EgressGuard(EgressRules.parse([f"http://rebind.test:{port}"], ["127.0.0.1/32"]), resolve)
    async with OutboundHttp(guard, LIMITS) as http:
        url = f"http://rebind.test:{port}/echo"
        assert (await http.send(HttpRequest(method="POST", url=url))).status == 200
        with pytest.raises(EgressRefused):
            await http.send(HttpRequest(method="POST", url=url))
    assert len(server.received) == 1


async def test_the_judged_address_is_the_one_connected_to(server: HostileHttp) -> None:
    """The name is resolved once for a connection: a second answer would be another one."""
    asked_for: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked_for.append(host)
        return ["127.0.0.1"] if len(asked_for) == 1 else ["10.0.0.1"]

    port = urlsplit(server.url).port
    guard = EgressGuard(EgressRules.parse([f"http://once.test:{port}"], ["127.0.0.1/32"]), resolve)
    async with OutboundHttp(guard, LIMITS) as http:
        await http.send(HttpRequest(method="POST", url=f"http://once.test:{port}/echo"))
    assert asked_for == ["once.test"]
    assert server.received[0].headers["host"] == f"once.test:{port}"


async def test_an_unknown_host_is_unavailable() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "no such name")

    async with OutboundHttp(EgressGuard(EgressRules.parse(["*"]), resolve)) as http:
        with pytest.raises(HostUnknown):
            await http.send(HttpRequest(url="https://nobody.test/"))


@pytest.mark.parametrize(
    "location",
    [
        *("http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://localhost/", "http://[::1]/", "file:///etc/passwd"),
        *(
            "ftp://127.0.0.1/",
            "//evil.test/",
            "http://127.0.0.1:1/",
            "http://user@127.0.0.1/",
            "http://0x7f.1/",
            "\\\\evil.test\\x",
            "data:,x",
        ),
    ],
)
async def test_s03_a_redirect_is_judged_like_the_first_target(http: OutboundHttp, server: HostileHttp, location: str) -> None:
    assert isinstance(await asked(http, server, f"/redirect?to={quote(location)}"), EgressRefused)
    assert len(server.received) == 1


async def test_s03_a_redirect_from_https_down_to_http_is_refused(http: OutboundHttp, server: HostileHttp) -> None:
    with pytest.raises(EgressRefused, match="from https to http"):
        http._judged_redirect(URL("https://127.0.0.1/"), server.url + "/echo")


async def test_a_redirect_within_the_rules_is_followed_and_counted(http: OutboundHttp, server: HostileHttp) -> None:
    answer = await http.send(HttpRequest(url=server.url + "/redirect?to=/echo", headers={"authorization": "Bearer x"}))
    assert answer.url == server.url + "/echo"
    assert orjson.loads(answer.body)["headers"]["authorization"] == "Bearer x"
    assert isinstance(await asked(http, server, "/loop"), AnswerUnfit)
    assert server.paths().count("/loop") == LIMITS.redirects + 1


async def test_secrets_are_not_carried_to_another_origin() -> None:
    async with HostileHttp().serving() as one, HostileHttp().serving() as other:
        guard = EgressGuard(EgressRules.parse([one.url, other.url], ["127.0.0.1/32"]))
        async with OutboundHttp(guard, LIMITS) as http:
            headers = {"Authorization": "Bearer x", "X-Api-Key": "k", "Accept": "application/json"}
            await http.send(HttpRequest(url=f"{one.url}/redirect?to={quote(other.url + '/echo')}", headers=headers))
    assert one.received[0].headers["authorization"] == "Bearer x"
    assert not {"authorization", "x-api-key"} & set(other.received[0].headers)
    assert other.received[0].headers["accept"] == "application/json"


async def test_a_redirect_of_a_request_that_acts_is_its_answer(http: OutboundHttp, server: HostileHttp) -> None:
    answer = await http.send(HttpRequest(method="POST", url=server.url + "/redirect?status=307&to=/echo"))
    assert answer.status == 307
    assert server.paths() == ["/redirect"]


async def test_cookies_are_not_kept(http: OutboundHttp, server: HostileHttp) -> None:
    await http.send(HttpRequest(url=server.url + "/cookie"))
    await http.send(HttpRequest(url=server.url + "/echo"))
    assert "cookie" not in server.received[1].headers


@pytest.mark.parametrize(
    "headers",
    [
        *({"x": "a\r\ny: b"}, {"x\r\ny": "b"}, {"x": "a\nb"}, {"x": "\0"}, {"": "x"}, {"x y": "z"}, {"Host": "evil.test"}),
        *({"Content-Length": "1"}, {"Transfer-Encoding": "chunked"}, {"Connection": "upgrade"}, {"x": "1", "X": "2"}, {"x": "é"}),
    ],
)
async def test_t10_headers_that_would_not_travel_as_they_stand_are_refused(
    http: OutboundHttp, server: HostileHttp, headers: dict[str, str]
) -> None:
    with pytest.raises(RequestUnfit):
        await http.send(HttpRequest(url=server.url + "/echo", headers=headers))
    assert server.received == []


@pytest.mark.parametrize("method", ["GET /x HTTP/1.1\r\n", "", "get", "CONNECT\n"])
async def test_t10_a_method_is_a_word(http: OutboundHttp, server: HostileHttp, method: str) -> None:
    assert isinstance(await asked(http, server, "/echo", method), RequestUnfit)


async def test_the_environments_proxy_is_not_used(http: OutboundHttp, server: HostileHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert (await http.send(HttpRequest(url=server.url + "/echo"))).status == 200


async def test_a_server_that_hangs_holds_up_no_other(server: HostileHttp) -> None:
    async with HostileHttp().serving() as other:
        guard = EgressGuard(EgressRules.parse([server.url, other.url], ["127.0.0.1/32"]))
        async with OutboundHttp(guard, LIMITS) as http, asyncio.TaskGroup() as group:
            hanging = [group.create_task(http.send(HttpRequest(url=server.url + "/hang"))) for _ in range(80)]
            for _ in range(20):
                assert (await http.send(HttpRequest(url=other.url + "/echo"), timeout_s=2.0)).status == 200
            server.hung.set()
            for task in hanging:
                task.cancel()
