"""Mutual TLS between services: credentials from files, and the peer's name from its certificate."""

from pathlib import Path
from typing import Any

import grpc

from plimsoll_runtime.settings import InvalidSettings, TlsSettings


def server_credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    """Credentials of a server that insists on a client certificate. Raises InvalidSettings when a file cannot be read."""
    key, certificate, ca = _read(tls)
    return grpc.ssl_server_credentials([(key, certificate)], root_certificates=ca, require_client_auth=True)


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    """Credentials of a client that shows its own certificate. Raises InvalidSettings when a file cannot be read."""
    key, certificate, ca = _read(tls)
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def peer_name(context: Any) -> str:
    """The common name in the peer's verified certificate; empty when the peer showed none."""
    names = context.auth_context().get("x509_common_name", ())
    return names[0].decode() if names else ""


def _read(tls: TlsSettings) -> tuple[bytes, bytes, bytes]:
    try:
        return Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes(), Path(tls.ca).read_bytes()
    except OSError as error:
        raise InvalidSettings(
            f"TLS file {error.filename} cannot be read: {error.strerror}", remedy="check TLS_CA, TLS_CERTIFICATE and TLS_KEY"
        ) from error
