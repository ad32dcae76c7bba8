"""Mutual TLS between services: credentials from files that may be renewed while we run, and the peer's name from its certificate."""

import ssl
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from plimsoll_runtime import logs
from plimsoll_runtime.settings import InvalidSettings, TlsSettings

Stamp: TypeAlias = tuple[int, ...]
_ROUNDS = 8  # a handshake takes three


def server_credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    """Credentials of a server that insists on a client certificate, read anew when the files have changed.

    Raises InvalidSettings when the files cannot be read or prove nothing.
    """
    renewed = RenewedFiles(tls)

    def look() -> grpc.ServerCertificateConfiguration | None:
        return _configuration(tls) if renewed.look() else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls),
        look,  # type: ignore[arg-type] # None stands for "no change"; the stubs do not know
        require_client_authentication=True,
    )


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    """Credentials of a client that shows its own certificate. Raises InvalidSettings as `server_credentials` does."""
    key, certificate, ca = _read(tls)
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def peer_name(context: Any) -> str:
    """The common name in the peer's verified certificate; empty when the peer showed none."""
    names = context.auth_context().get("x509_common_name", ())
    return names[0].decode() if names else ""


class RenewedFiles:
    """Tells once when the files of a certificate have been replaced by others that are whole and valid."""

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._seen = _stamp(tls)

    def look(self) -> bool:
        """Whether there are new ones. Files that are not in order are told in the log, and those in use stay in use."""
        found = _stamp(self._tls)
        if found == self._seen:
            return False
        try:
            prove(self._tls)
        except InvalidSettings as error:
            if _stamp(self._tls) == found:  # not in the middle of being replaced
                self._seen = found
                logs.get("tls").error("tls.renewal_refused", {"message": str(error), "means": "the certificate in use stays in use"})
            return False
        self._seen = found
        logs.get("tls").info("tls.renewed", {"certificate": self._tls.certificate})
        return True


def _stamp(tls: TlsSettings) -> Stamp:
    try:
        stats = [Path(path).stat() for path in (tls.ca, tls.certificate, tls.key)]
    except OSError:
        return ()
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_ino))


def _configuration(tls: TlsSettings) -> grpc.ServerCertificateConfiguration:
    key, certificate, ca = _read(tls)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=ca)


def _read(tls: TlsSettings) -> tuple[bytes, bytes, bytes]:
    prove(tls)
    return Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes(), Path(tls.ca).read_bytes()


def prove(tls: TlsSettings) -> None:
    """Shake hands with ourselves: what our own authority would refuse in us, every peer would. Raises InvalidSettings that says what."""
    for name, path in (("TLS_CA", tls.ca), ("TLS_CERTIFICATE", tls.certificate), ("TLS_KEY", tls.key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise InvalidSettings(
                f"{name}: file {path} cannot be read: {error.strerror}", remedy="name a file that the service may read"
            ) from error
    try:
        _shake_hands(*(_side(tls, side) for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)))
    except ssl.SSLCertVerificationError as error:
        raise InvalidSettings(
            f"TLS_CERTIFICATE: file {tls.certificate} does not hold against {tls.ca}: {error.verify_message}",
            remedy="renew the certificate, from the authority in TLS_CA",
        ) from error
    except ssl.SSLError as error:
        raise InvalidSettings(
            f"TLS_CERTIFICATE, TLS_KEY and TLS_CA do not fit together: {error.reason or 'one of them is no PEM file'}",
            remedy="take all three from the same issue",
        ) from error


def _side(tls: TlsSettings, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.check_hostname = False  # by whatever name it is reached: peers ask for the service's own
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for _ in range(_ROUNDS):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
