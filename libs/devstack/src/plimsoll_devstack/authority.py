"""The development certificate authority: one private key that signs a certificate for each service, all kept in one folder."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.names import LOOPBACK

_AUTHORITY_FOR = timedelta(days=3650)
_SERVICE_FOR = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """What one service needs to prove itself and to check others."""

    ca: Path
    certificate: Path
    key: Path


def certificate_files(directory: Path, service: str) -> CertificateFiles:
    """Where the files of `service` (its folder name) lie."""
    return CertificateFiles(ca=directory / "ca.pem", certificate=directory / f"{service}.pem", key=directory / f"{service}.key")


def ensure_certificates(directory: Path, services: tuple[str, ...], now: datetime) -> None:
    """Make what is missing, damaged or near its end; a new authority signs every certificate anew."""
    private_directory(directory)
    authority = certificate_files(directory, "ca")
    signer = _load(authority, now)
    if signer is None:
        signer = _new_authority(now)
        _store(authority, signer)
    for service in services:
        files = certificate_files(directory, service)
        present = _load(files, now)
        if present is None or not _signed_by(present, signer):
            _store(files, _new_certificate(service, signer, now))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _load(files: CertificateFiles, now: datetime) -> _Pair | None:
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        return None  # a start was cut off between the two files
    begun = certificate.not_valid_before_utc <= now
    return _Pair(certificate=certificate, key=key) if begun and now < certificate.not_valid_after_utc - _RENEW_BEFORE else None


def _signed_by(pair: _Pair, signer: _Pair) -> bool:
    issued = pair.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return issued == x509.SubjectKeyIdentifier.from_public_key(signer.key.public_key()).digest


def _store(files: CertificateFiles, pair: _Pair) -> None:
    key = pair.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(files.key, key.decode())
    write_private(files.certificate, pair.certificate.public_bytes(serialization.Encoding.PEM).decode())


def _new_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Plimsoll development authority")
    draft = (
        _draft(name, name, key, now, _AUTHORITY_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return _Pair(certificate=draft.sign(key, hashes.SHA256()), key=key)


def _new_certificate(service: str, signer: _Pair, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    reached_as = [x509.DNSName(service), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    draft = (
        _draft(_name(service), signer.certificate.subject, key, now, _SERVICE_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(reached_as), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    return _Pair(certificate=draft.sign(signer.key, hashes.SHA256()), key=key)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, valid_for: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + valid_for)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
