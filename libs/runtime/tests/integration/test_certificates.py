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

SOON = 5.0


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
