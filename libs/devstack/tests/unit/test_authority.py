"""Certificates prove a service's name to the others, and to nobody else."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from plimsoll_devstack.authority import CertificateFiles, certificate_files, ensure_certificates

NOW = datetime.now(UTC)
SERVICES = ("gateway", "tool-dispatcher")


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    ensure_certificates(tmp_path / "tls", SERVICES, NOW)
    return tmp_path / "tls"


def _contexts(server: CertificateFiles, client: CertificateFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, own, trusted in ((serving, server, server.ca), (asking, client, client.ca)):
        context.load_cert_chain(own.certificate, own.key)
        context.load_verify_locations(trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    return serving, asking


def _handshake(server: CertificateFiles, client: CertificateFiles, name: str) -> dict[str, object]:
    """A TLS handshake in memory; returns the client's certificate as the server sees it."""
    serving, asking = _contexts(server, client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        serving.wrap_bio(to_server, to_client, server_side=True),
        asking.wrap_bio(to_client, to_server, server_hostname=name),
    )
    pending = set(ends)
    for _ in range(20):
        for end in ends:
            try:
                end.do_handshake()
                pending.discard(end)
            except ssl.SSLWantReadError:
                continue
    assert not pending
    seen = ends[0].getpeercert()
    assert seen is not None
    return dict(seen)


@pytest.mark.parametrize("name", ["gateway", "localhost", "127.0.0.1"])
def test_services_trust_each_other_by_name_and_on_loopback(tls: Path, name: str) -> None:
    seen = _handshake(certificate_files(tls, "gateway"), certificate_files(tls, "tool-dispatcher"), name)
    assert seen["subject"] == ((("commonName", "tool-dispatcher"),),)


def test_a_service_cannot_pass_for_another(tls: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(certificate_files(tls, "gateway"), certificate_files(tls, "tool-dispatcher"), "tool-dispatcher")


def test_another_authority_is_not_trusted(tls: Path, tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "other", SERVICES, NOW)
    stranger = certificate_files(tmp_path / "other", "gateway")
    mixed = CertificateFiles(ca=certificate_files(tls, "gateway").ca, certificate=stranger.certificate, key=stranger.key)
    with pytest.raises(ssl.SSLError):
        _handshake(certificate_files(tls, "gateway"), mixed, "gateway")


def test_keys_are_private(tls: Path) -> None:
    assert {stat.S_IMODE(key.stat().st_mode) for key in tls.glob("*.key")} == {0o600}


def test_good_certificates_are_left_alone(tls: Path) -> None:
    before = {file: file.read_bytes() for file in tls.iterdir()}
    ensure_certificates(tls, SERVICES, NOW + timedelta(days=1))
    assert {file: file.read_bytes() for file in tls.iterdir()} == before


def _serial(tls: Path, name: str) -> int:
    return x509.load_pem_x509_certificate((tls / f"{name}.pem").read_bytes()).serial_number


def test_a_certificate_near_its_end_is_renewed_under_the_same_authority(tls: Path) -> None:
    authority, service = _serial(tls, "ca"), _serial(tls, "gateway")
    ensure_certificates(tls, SERVICES, NOW + timedelta(days=340))
    assert _serial(tls, "ca") == authority
    assert _serial(tls, "gateway") != service


@pytest.mark.parametrize("damage", ["missing", "garbage", "of another service"])
def test_a_damaged_pair_is_made_anew(tls: Path, damage: str) -> None:
    key = tls / "gateway.key"
    match damage:
        case "missing":
            key.unlink()
        case "garbage":
            key.write_text("garbage")
        case _:
            key.write_bytes((tls / "tool-dispatcher.key").read_bytes())
    ensure_certificates(tls, SERVICES, NOW)
    _handshake(certificate_files(tls, "gateway"), certificate_files(tls, "tool-dispatcher"), "gateway")


def test_a_lost_authority_is_replaced_with_everything_it_signed(tls: Path) -> None:
    (tls / "ca.key").unlink()
    ensure_certificates(tls, SERVICES, NOW)
    _handshake(certificate_files(tls, "gateway"), certificate_files(tls, "tool-dispatcher"), "gateway")
