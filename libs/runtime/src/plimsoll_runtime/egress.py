"""Where calls that leave the mesh may go: origins by rule, every resolved address judged, and the judged address is the one connected to.

`EgressGuard` resolves and judges; `outbound_http` speaks HTTP through it, and other clients connect to what `addresses` returns.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from yarl import URL

from plimsoll_runtime.errors import Denied, Unavailable

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text. Raises OSError."""

_MAX_URL_CHARS = 8192
_THREADS = 2
_PORTS = {"https": 443, "http": 80}
_UNCLEAR = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")  # what two parsers may read differently
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")  # `127.1`, `2130706433`, `0x7f.1`: an address to some, a name to others
_RULE = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>\*|(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?")

_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
            *("192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_CARRIERS_OF_4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))  # mapped, NAT64: an IPv4 address in the last 32 bits


class EgressRefused(Denied):
    """The target of an outgoing call is not allowed; nothing was sent to it."""

    reason = "EGRESS_REFUSED"


class HostUnknown(Unavailable):
    """The host has no address; nothing was sent."""

    reason = "HOST_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Origin:
    """A rule: a scheme, a host (exact, `*.example.com` for those below it, or `*`), a port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """`api.example.com`, `*.example.com:8443`, `http://127.0.0.1:9000`, `*`; https unless written. Raises ValueError."""
        match = _RULE.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(
                f"{text[:80]!r} is not an origin: write api.example.com, *.example.com, https://host:8443 or http://127.0.0.1:9000"
            )
        scheme = match["scheme"] or "https"
        port = int(match["port"] or _PORTS[scheme])
        if not 0 < port < 65536:
            raise ValueError(f"{text[:80]!r} has no such port: use 1 to 65535")
        return cls(scheme, match["host"].strip("[]"), port)

    def allows(self, url: URL) -> bool:
        """Whether a judged URL lies in it."""
        host = url.host or ""
        if (url.scheme, url.port) != (self.scheme, self.port):
            return False
        return self.host in {"*", host} or (self.host.startswith("*.") and host.endswith(self.host[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """What is allowed: nothing that no origin names, and no address that is not public unless a network holds it."""

    origins: tuple[Origin, ...] = ()
    networks: tuple[IpNetwork, ...] = ()

    @classmethod
    def parse(cls, origins: Sequence[str], networks: Sequence[str] = ()) -> "EgressRules":
        """Rules from text; networks such as 10.1.0.0/16. Raises ValueError."""
        return cls(
            origins=tuple(Origin.parse(text) for text in origins),
            networks=tuple(ipaddress.ip_network(text.strip()) for text in networks),
        )


def refusal_of(address: IpAddress, networks: Sequence[IpNetwork] = ()) -> str:
    """Why nobody may connect to the address; an empty text when they may.

    An IPv4 address inside an IPv6 one is judged as well: allowing the NAT64 prefix does not open what lies behind it.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return "is bound to a network interface"
        if any(address in carrier for carrier in _CARRIERS_OF_4):
            if not _within(address, networks):
                return "carries an IPv4 address inside an IPv6 one"
            return refusal_of(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), networks)
        public = address in _PUBLIC_6 and not _within(address, _NOT_PUBLIC_6)
    else:
        public = not _within(address, _NOT_PUBLIC_4)
    return "" if public or _within(address, networks) else "is not a public address"


class EgressGuard:
    """Judges URLs, resolves their hosts and judges every address."""

    def __init__(self, rules: EgressRules, resolve: Resolve | None = None) -> None:
        self._rules = rules
        self._resolve = resolve or SystemResolve()

    def target(self, text: str) -> URL:
        """The URL, in the one form that is connected to. Raises EgressRefused for an unclear one and for one that no rule allows."""
        url = _clear(text)
        if not any(origin.allows(url) for origin in self._rules.origins):
            raise EgressRefused(
                f"{url.scheme}://{url.host}:{url.port} is not an allowed origin", remedy="ask the operator to add it to the allowed origins"
            )
        return url

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Where to connect to for `host`. Raises EgressRefused when a single one of its addresses is not allowed, or HostUnknown."""
        literal = _literal(host)
        if literal is not None:
            found: Sequence[str] = [str(literal)]
        else:
            try:
                found = await self._resolve(host, port)
            except OSError as error:
                raise HostUnknown(f"the host {host[:253]!r} has no address") from error
        if not found:
            raise HostUnknown(f"the host {host[:253]!r} has no address")
        for text in found:
            self.judge(text, host)
        return found

    def judge(self, address: str, host: str) -> None:
        """Raises EgressRefused unless the address may be connected to. The address itself is not told: it would map what is inside."""
        try:
            refusal = refusal_of(ipaddress.ip_address(address), self._rules.networks)
        except ValueError:
            refusal = "is no IP address"
        if refusal:
            raise EgressRefused(
                f"the host {host[:253]!r} leads to an address that {refusal}",
                remedy="ask the operator to allow its network, if it is meant",
            )


class SystemResolve:
    """Resolves as the system does, in threads of its own: a name that hangs holds up nobody else's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")  # they end with the executor's last reference

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Each address once, in the system's order. Raises OSError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)


def _look_up(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except UnicodeError as error:  # of a name that no DNS could hold
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in found))


def _clear(text: str) -> URL:
    """A URL that every parser reads alike: http or https, a plain host, no credentials. Raises EgressRefused."""
    remedy = "write https://host/path, other characters percent-encoded, and the host in ASCII (xn--…)"
    if len(text) > _MAX_URL_CHARS:
        raise EgressRefused(f"the URL is longer than {_MAX_URL_CHARS} characters", remedy="shorten it")
    authority = re.match(r"https?://([^/?#]*)", text, re.IGNORECASE)
    if authority is None or _UNCLEAR.search(text):
        raise EgressRefused("the URL is not plain http or https", remedy=remedy)
    if "@" in authority[1] or "%" in authority[1]:
        raise EgressRefused("the URL carries credentials or an encoded host", remedy=remedy)
    try:
        url = URL(text).with_fragment(None)
        host = (url.host or "").lower().removesuffix(".")
        port = url.port
    except ValueError as error:
        raise EgressRefused("the URL cannot be read", remedy=remedy) from error
    if _literal(host) is None and (len(host) > 253 or _NAME.fullmatch(host) is None or _NUMERIC_END.search(host)):
        raise EgressRefused("the URL has no clear host", remedy=remedy)
    if port is None or not 0 < port < 65536:
        raise EgressRefused("the URL has no such port", remedy=remedy)
    return url.with_host(host)


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
