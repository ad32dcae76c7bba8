"""Where the mesh is and by which key it lets us in: environment first, else what `plimsoll up` wrote into its data directory."""

import ipaddress
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from plimsoll_client.errors import BadAddress, NoKey, NoMesh

ADDRESS_VARIABLE = "PLIMSOLL_ADDRESS"
KEY_VARIABLE = "PLIMSOLL_API_KEY"
CA_VARIABLE = "PLIMSOLL_CA"
DATA_VARIABLE = "PLIMSOLL_DATA_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The gateway's gRPC port. `ca` is the file of the authority that signed its certificate; None means the system's own list."""

    target: str
    tls: bool
    api_key: str = field(repr=False)
    ca: Path | None = None


def data_directory(chosen: Path | None, environ: Mapping[str, str], *, cwd: Path, home: Path) -> Path:
    """The chosen one, else PLIMSOLL_DATA_DIR, else `.plimsoll` of the working directory when it is there, else the user's own."""
    if chosen is not None:
        return chosen
    if named := environ.get(DATA_VARIABLE):
        return Path(named)
    local = cwd / ".plimsoll"
    return local if local.is_dir() else home / ".local" / "share" / "plimsoll"


def data_option(data: Path, environ: Mapping[str, str], *, cwd: Path, home: Path) -> str:
    """What a printed command needs behind it to find that directory; nothing where it is found anyway."""
    usual = data_directory(None, environ, cwd=cwd, home=home)
    found = ADDRESS_VARIABLE not in environ and usual.absolute() == data.absolute()
    return "" if found else f" --data {shlex.quote(str(data))}"


def find_endpoint(chosen: Path | None, environ: Mapping[str, str], *, cwd: Path, home: Path) -> Endpoint:
    """Look in the environment unless a data directory was chosen, then in the data directory. Raises NoMesh with what to do."""
    address = environ.get(ADDRESS_VARIABLE, "")
    if address and chosen is None:
        ca = environ.get(CA_VARIABLE)
        return endpoint(address, environ.get(KEY_VARIABLE, ""), ca=Path(ca) if ca else None)
    return _local(data_directory(chosen, environ, cwd=cwd, home=home), environ.get(KEY_VARIABLE, ""))


def endpoint(address: str, api_key: str, *, ca: Path | None = None) -> Endpoint:
    """`host:port` is plaintext on loopback and TLS elsewhere; `http://` and `https://` before it decide otherwise."""
    scheme, found, rest = address.partition("://")
    host, port = _host_and_port(rest if found else address)
    if not host or (found and scheme not in {"http", "https"}):
        raise BadAddress(
            f"address {address!r} is not host:port", remedy=f"Set {ADDRESS_VARIABLE} to the gateway's gRPC port, such as 127.0.0.1:7700"
        )
    if not api_key:
        raise NoKey(f"there is no API key for {address}", remedy=f"Set {KEY_VARIABLE}")
    tls = scheme == "https" if found else not _is_loopback(host)
    return Endpoint(target=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls=tls, api_key=api_key, ca=ca)


def _host_and_port(text: str) -> tuple[str, int]:
    """An empty host for anything that is not host:port."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return "", 0
    return (host, port) if host and port and parts.path in {"", "/"} and not parts.query else ("", 0)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local(data: Path, api_key: str) -> Endpoint:
    """The mesh of a data directory, as `plimsoll up` recorded it in mesh.json."""
    remedy = f"Start one with `plimsoll up`, or name one with --data or {ADDRESS_VARIABLE} and {KEY_VARIABLE}"
    try:
        recorded = orjson.loads((data / "mesh.json").read_bytes())
        phase, address, key_file = (str(recorded[name]) for name in ("phase", "grpc_address", "api_key_file"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoMesh(f"no mesh is running: {data} has none", remedy=remedy) from error
    except OSError as error:
        raise NoMesh(
            f"{data / 'mesh.json'} cannot be read: {error.strerror}", remedy="Fix its permissions, or name another --data"
        ) from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise NoMesh(f"{data / 'mesh.json'} is damaged", remedy="Run `plimsoll down`, then `plimsoll up`") from error
    if phase == "starting":
        raise NoMesh(f"the mesh in {data} is still starting", remedy="Wait until `plimsoll status` says ready")
    if phase != "ready" or not address:
        raise NoMesh(f"the mesh in {data} is {phase}", remedy=remedy)
    return endpoint(address, api_key or _key(data / key_file))


def _key(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoKey(
            f"the API key in {file} cannot be read: {error.strerror}", remedy=f"Fix its permissions, or set {KEY_VARIABLE}"
        ) from error
