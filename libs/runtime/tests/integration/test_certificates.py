"""Certificates: renewed while calls run, refused when they prove nothing, and lists of who may call what."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Denied
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.rpc_server import EVERY_METHOD, PeerCertificates
from plimsoll_runtime.settings import InvalidSettings, TlsSettings
from plimsoll_runtime.tls import RenewedFiles
from plimsoll_testkit import eventually
from runtime_probe import asking, certificates, serving

SOON = 60.0


def renew(directory: Path, service: str) -> None:
    """A new certificate from the same authority, put in the place of the old one."""
    certificate_files(directory, service).certificate.unlink()
    ensure_certificates(directory, (service,), datetime.now(UTC))


def shown(address: str, tls: TlsSettings) -> bytes:
    """The certificate that a server shows to a new connection."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")

    with socket.create_connection((host, int(port)), timeout=SOON) as plain, context.wrap_socket(plain) as secured:
        return secured.getpeercert(binary_form=True) or b""


async def test_certificates_are_renewed_on_both_sides_while_no_call_fails(tmp_path: Path):
    server_tls, client_tls = certificates(tmp_path, "memory"), certificates(tmp_path, "gateway")
    async with serving(tls=server_tls) as served, asking(served.address, client_tls) as asker:
        stop, answered = asyncio.Event(), list[bytes]()

        async def keep_calling() -> None:
            while not stop.is_set():
                with acting_for("acme"):
                    answered.append(await call(asker.ask, b"well", cap_s=SOON))

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_calling())
            before = await asyncio.to_thread(shown, served.address, client_tls)
            renew(tmp_path, "memory")
            renew(tmp_path, "gateway")
            await eventually(lambda: asker.channel.generation == 1, within_s=SOON)  # type: ignore[attr-defined]
            so_far = len(answered)
            await eventually(lambda: len(answered) > so_far + 20, within_s=SOON)
            after = await asyncio.to_thread(shown, served.address, client_tls)
            stop.set()
    assert after != before
    assert set(answered) == {b"well"}


async def test_the_authority_is_replaced_by_way_of_trusting_both_while_no_call_fails(tmp_path: Path):
    """First all trust the old and the new authority, then certificates of the new one come, then the old one is dropped."""
    both = {name: certificates(tmp_path / "old", name) for name in ("memory", "gateway")}
    fresh = {name: certificates(tmp_path / "new", name) for name in both}
    ours = {name: own_files(tmp_path / "own" / name, tls) for name, tls in both.items()}
    async with serving(tls=ours["memory"]) as served, asking(served.address, ours["gateway"]) as asker:
        stop, answered = asyncio.Event(), list[bytes]()

        async def keep_calling() -> None:
            while not stop.is_set():
                with acting_for("acme"):
                    answered.append(await call(asker.ask, b"well", cap_s=SOON))

        async def settled(generation: int) -> None:
            await eventually(lambda: asker.channel.generation == generation, within_s=SOON)  # type: ignore[attr-defined]
            so_far = len(answered)
            await eventually(lambda: len(answered) > so_far + 20, within_s=SOON)

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_calling())
            for name, tls in ours.items():
                put(tls.ca, both[name].ca, fresh[name].ca)
            await settled(1)
            for name, tls in ours.items():
                put(tls.key, fresh[name].key)
                put(tls.certificate, fresh[name].certificate)
            await settled(2)
            for name, tls in ours.items():
                put(tls.ca, fresh[name].ca)
            await settled(3)
            stop.set()
        assert set(answered) == {b"well"}
        assert await asyncio.to_thread(greeted, served.address, ours["gateway"], fresh["gateway"].ca)
        assert not await asyncio.to_thread(greeted, served.address, both["gateway"], fresh["gateway"].ca)


def own_files(directory: Path, tls: TlsSettings) -> TlsSettings:
    """Copies for one service, as each has its own in production."""
    directory.mkdir(parents=True)
    copies = [directory / Path(path).name for path in (tls.ca, tls.certificate, tls.key)]
    for copy, path in zip(copies, (tls.ca, tls.certificate, tls.key), strict=True):
        copy.write_bytes(Path(path).read_bytes())
    return TlsSettings(ca=str(copies[0]), certificate=str(copies[1]), key=str(copies[2]))


def put(place: str, *sources: str) -> None:
    Path(place).write_text("".join(Path(source).read_text() for source in sources))


def greeted(address: str, tls: TlsSettings, ca: str) -> bytes:
    """What a server says first to who shows this certificate; nothing when it refuses, which shows only after the handshake."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SOON) as plain, context.wrap_socket(plain) as secured:
        try:
            return secured.recv(1)
        except (ssl.SSLError, ConnectionResetError):
            return b""


def test_files_half_replaced_are_not_taken(tmp_path: Path):
    tls = certificates(tmp_path, "memory")
    renewed, key = RenewedFiles(tls), Path(tls.key).read_text()
    assert not renewed.look()
    renew(tmp_path, "memory")
    new_key = Path(tls.key).read_text()
    Path(tls.key).write_text(key)
    assert not renewed.look()
    Path(tls.key).write_text(new_key)
    assert renewed.look()
    assert not renewed.look()


async def test_an_expired_certificate_is_told_in_one_line(tmp_path: Path):
    long_ago = datetime.now(UTC) - timedelta(days=400)
    ensure_certificates(tmp_path, ("memory",), long_ago)
    files = certificate_files(tmp_path, "memory")
    tls = TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))
    with pytest.raises(InvalidSettings, match=r"memory\.pem does not hold against .*ca\.pem: certificate has expired"):
        async with serving(tls=tls):
            pass


async def test_a_certificate_of_another_authority_is_told_in_one_line(tmp_path: Path):
    ours, theirs = certificates(tmp_path / "ours", "memory"), certificates(tmp_path / "theirs", "memory")
    mixed = TlsSettings(ca=theirs.ca, certificate=ours.certificate, key=ours.key)
    with pytest.raises(InvalidSettings, match=r"memory\.pem does not hold against .*ca\.pem"):
        async with serving(tls=mixed):
            pass


async def test_a_key_of_another_certificate_is_told_in_one_line(tmp_path: Path):
    one, other = certificates(tmp_path, "memory"), certificates(tmp_path, "feedback")
    mixed = TlsSettings(ca=one.ca, certificate=one.certificate, key=other.key)
    with pytest.raises(InvalidSettings, match=r"do not fit together: KEY_VALUES_MISMATCH"):
        async with serving(tls=mixed):
            pass


@pytest.mark.parametrize(("service", "allowed"), [("gateway", True), ("worker", True), ("memory", False), ("feedback", False)])
async def test_each_service_calls_only_the_methods_on_its_list(tmp_path: Path, service: str, allowed: bool):
    who = PeerCertificates({"gateway": EVERY_METHOD, "worker": frozenset({"Ask"}), "memory": frozenset({"Watch"})})
    async with (
        serving(tls=certificates(tmp_path, "memory"), authenticate=who) as served,
        asking(served.address, certificates(tmp_path, service)) as asker,
    ):
        with acting_for("acme"):
            if allowed:
                assert await call(asker.ask, b"well", cap_s=SOON) == b"well"
                return
            with pytest.raises(Denied) as caught:
                await call(asker.ask, b"well", cap_s=SOON)
        assert caught.value.reason == "CALLER_NOT_ALLOWED"
