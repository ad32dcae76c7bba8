"""Egress: what may be reached, judged by origin and by every address."""

import asyncio
import ipaddress
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.egress import EgressGuard, EgressRefused, EgressRules, HostUnknown, Origin, SystemResolve, refusal_of

ANY = EgressRules.parse(["*", "http://*"])
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::6810:84e5", "2a00:1450:4001::1"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "255.255.255.255", "240.0.0.1"),
    *(
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::",
        "3fff::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "::127.0.0.1", "5f00::1"),
]


def resolving(*answers: Sequence[str]) -> tuple[EgressGuard, list[str]]:
    """A guard whose names resolve to the given answers, one per question, and the names asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return EgressGuard(ANY, resolve), asked


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_connected_to(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address)) == ""


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_s01_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address))


def test_a_configured_network_opens_its_addresses_and_no_others() -> None:
    networks = EgressRules.parse([], ["10.1.0.0/16", "::1/128"]).networks
    assert refusal_of(ipaddress.ip_address("10.1.2.3"), networks) == ""
    assert refusal_of(ipaddress.ip_address("::1"), networks) == ""
    assert refusal_of(ipaddress.ip_address("10.2.0.1"), networks)


def test_allowing_the_nat64_prefix_does_not_open_private_addresses_behind_it() -> None:
    networks = EgressRules.parse([], ["64:ff9b::/96"]).networks
    assert refusal_of(ipaddress.ip_address("64:ff9b::808:808"), networks) == ""
    assert refusal_of(ipaddress.ip_address("64:ff9b::a00:1"), networks)


@given(st.ip_addresses(v=4))
def test_what_python_calls_private_is_never_open(address: ipaddress.IPv4Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast or address.is_reserved:
        assert refusal_of(address)
    assert refusal_of(ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed))


@pytest.mark.parametrize(
    "url",
    [
        *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://1.1.1.1.1/"),
        *("http://user@example.com/", "http://example.com@127.0.0.1/", "http://a:b@example.com/", "http://example.com\\@127.0.0.1/"),
        *(
            "http://exa\tmple.com/",
            "http://example.com\r\nhost: x/",
            "http://ｅxample.com/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
        ),
        *("http://exa%6dple.com/", "http://[fe80::1%25eth0]/", "http:///etc/passwd", "http://", "//example.com/", "example.com", ""),
        *("file:///etc/passwd", "ftp://example.com/", "gopher://x/", "data:text/html,x", "javascript:1", "unix:///run/x", "http+unix://x/"),
        *(
            "http://example.com:99999/",
            "http://example.com:0/",
            "http://example.com:port/",
            "http://.example.com/",
            "http://a..b/",
            "http://-a.b/",
        ),
        *(
            "http://" + "a" * 300 + "/",
            "http://example.com/" + "a" * 9000,
            "http://example.com /",
            " http://example.com/",
            "http://[::1",
            "http://]",
        ),
    ],
)
def test_s04_a_url_that_parsers_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        EgressGuard(ANY).target(url)


@pytest.mark.parametrize(
    ("rule", "url", "allowed"),
    [
        ("api.example.com", "https://api.example.com/x?y=1", True),
        ("api.example.com", "https://API.Example.com./x", True),
        ("api.example.com", "http://api.example.com/", False),
        ("api.example.com", "https://api.example.com:8443/", False),
        ("api.example.com:8443", "https://api.example.com:8443/", True),
        ("api.example.com", "https://api.example.com.evil.net/", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://badexample.com/", False),
        ("*", "https://anything.net/", True),
        ("*", "http://anything.net/", False),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/", True),
        ("http://[::1]:9000", "http://[::1]:9000/", True),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9001/", False),
    ],
)
def test_an_origin_allows_its_scheme_host_and_port_and_nothing_else(rule: str, url: str, allowed: bool) -> None:
    guard = EgressGuard(EgressRules.parse([rule]))
    if allowed:
        assert guard.target(url).scheme == url.split(":", maxsplit=1)[0]
    else:
        with pytest.raises(EgressRefused):
            guard.target(url)


@pytest.mark.parametrize("rule", ["", "https://", "ftp://x", "a b", "x:0", "x:99999", "https://x/path", "*.*", "user@x", "**"])
def test_a_rule_that_is_no_origin_is_refused_with_an_example(rule: str) -> None:
    with pytest.raises(ValueError, match=r"is not an origin: write|has no such port"):
        Origin.parse(rule)


def test_without_a_rule_nothing_is_allowed() -> None:
    with pytest.raises(EgressRefused):
        EgressGuard(EgressRules()).target("https://example.com/")


async def test_s02_one_private_address_among_many_closes_the_host() -> None:
    guard, _ = resolving(["93.184.216.34", "10.0.0.1"])
    with pytest.raises(EgressRefused):
        await guard.addresses("rebind.example.com", 443)


async def test_s02_each_resolution_is_judged_anew() -> None:
    guard, _ = resolving(["93.184.216.34"], ["127.0.0.1"])
    assert await guard.addresses("rebind.example.com", 443) == ["93.184.216.34"]
    with pytest.raises(EgressRefused):
        await guard.addresses("rebind.example.com", 443)


async def test_s01_the_metadata_service_is_refused_by_its_address_whatever_its_name() -> None:
    guard, _ = resolving(["169.254.169.254"])
    for host in ("metadata.google.internal", "169.254.169.254"):
        with pytest.raises(EgressRefused) as refused:
            await guard.addresses(host, 80)
        assert "169.254" not in str(refused.value).replace(host, "")


async def test_an_address_in_a_url_is_judged_without_asking_anybody() -> None:
    guard, asked = resolving(["93.184.216.34"])
    with pytest.raises(EgressRefused):
        await guard.addresses("192.168.0.1", 80)
    assert asked == []


async def test_a_host_without_an_address_is_told_apart_from_a_refused_one() -> None:
    guard, _ = resolving([])
    with pytest.raises(HostUnknown):
        await guard.addresses("nobody.example.com", 443)
    with pytest.raises(HostUnknown):
        await EgressGuard(ANY).addresses("nobody.invalid", 443)
    with pytest.raises(EgressRefused):
        await EgressGuard(ANY).addresses("localhost", 80)


async def test_names_that_hang_hold_up_no_other_guard() -> None:
    release = threading.Event()
    slow = SystemResolve()
    slow._threads.submit(release.wait)
    slow._threads.submit(release.wait)
    try:
        async with asyncio.timeout(5):
            with pytest.raises(EgressRefused):
                await EgressGuard(ANY).addresses("localhost", 80)
    finally:
        release.set()
