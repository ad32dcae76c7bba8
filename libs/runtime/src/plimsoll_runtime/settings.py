"""Settings: read once from the environment into frozen dataclasses, with one error that lists every problem.

A field's variable is the prefix and the field's name in upper case; a nested group adds its own prefix. A value may also
come from a file named by the variable with `_FILE` behind it, which is how secrets are mounted. An empty variable is one not set.
"""

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from plimsoll_runtime.errors import FieldProblem, Invalid

T = TypeVar("T")


class InvalidSettings(Invalid):
    """The settings are wrong."""

    reason = "INVALID_SETTINGS"


class Secret:
    """A value that never prints."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def setting(default: Any = MISSING, *, doc: str) -> Any:
    """A field of a settings class. Without a default the variable must be set."""
    return field(default=default, metadata={"doc": doc})


def nested(group: type[T], prefix: str) -> T:
    """A field that holds a group of settings whose variables carry `prefix`."""
    return cast("T", field(metadata={"group": group, "prefix": prefix}))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    ca: str = setting("", doc="file of the certificate authority that signs all services")
    certificate: str = setting("", doc="file of this service's certificate")
    key: str = setting("", doc="file of this service's private key")

    def __post_init__(self) -> None:
        given = [bool(self.ca), bool(self.certificate), bool(self.key)]
        if any(given) and not all(given):
            raise ValueError("TLS_CA, TLS_CERTIFICATE and TLS_KEY belong together: set all three or none")

    @property
    def enabled(self) -> bool:
        return bool(self.ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    grpc_listen: str = setting("127.0.0.1:0", doc="address of the gRPC server, host:port")
    admin_listen: str = setting("127.0.0.1:0", doc="address of the HTTP server with /livez, /readyz and /metrics, host:port")
    drain_s: float = setting(10.0, doc="seconds that work in flight gets to finish at shutdown")
    request_cap_s: float = setting(60.0, doc="deadline in seconds of requests that bring none")
    max_message_mib: int = setting(64, doc="largest gRPC message in MiB")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting("INFO", doc="DEBUG, INFO, WARNING or ERROR")
    otlp_endpoint: str = setting("", doc="OTLP/gRPC endpoint for traces; empty switches export off")
    faults_file: str = setting("", doc="file of a fault plan to follow while it is there; empty switches fault injection off")
    insecure: bool = setting(False, doc="serve without certificates and believe every caller; for tests only")
    tls: TlsSettings = nested(TlsSettings, "TLS_")

    def __post_init__(self) -> None:
        problems = [
            FieldProblem(name, f"is {listen!r}: not an address", "give host:port")
            for name, listen in (("GRPC_LISTEN", self.grpc_listen), ("ADMIN_LISTEN", self.admin_listen))
            if not _is_address(listen)
        ]
        if not self.tls.enabled and not self.insecure:
            wanted = "set all three, or INSECURE=true in a test"
            problems += [
                FieldProblem(f"TLS_{name}", "is not set: services only speak mutual TLS", wanted) for name in ("CA", "CERTIFICATE", "KEY")
            ]
        if self.drain_s < 0:
            problems.append(FieldProblem("DRAIN_S", "must not be negative"))
        problems += [
            FieldProblem(name, "must be more than 0")
            for name, value in (("REQUEST_CAP_S", self.request_cap_s), ("MAX_MESSAGE_MIB", self.max_message_mib))
            if value <= 0
        ]
        if problems:
            raise InvalidSettings(problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    dsn: Secret = setting(doc="postgresql://role:password@host:port/database")
    pool_min: int = setting(1, doc="connections kept open")
    pool_max: int = setting(8, doc="connections at the most")
    statement_cap_s: float = setting(30.0, doc="seconds after which a statement is given up")

    def __post_init__(self) -> None:
        problems = _url_problems("DSN", self.dsn, "postgresql", "postgres")
        if not 0 <= self.pool_min <= self.pool_max or self.pool_max < 1:
            problems.append(FieldProblem("POOL_MAX", "POOL_MIN and POOL_MAX need 0 <= min <= max and max >= 1"))
        if self.statement_cap_s <= 0:
            problems.append(FieldProblem("STATEMENT_CAP_S", "must be more than 0"))
        if problems:
            raise InvalidSettings(problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    url: Secret = setting(doc="nats://user:password@host:port")
    copies: int = setting(1, doc="members of a cluster that keep each stream: 1, 3 or 5")

    def __post_init__(self) -> None:
        problems = _url_problems("URL", self.url, "nats", "tls")
        if self.copies not in {1, 3, 5}:
            problems.append(FieldProblem("COPIES", f"is {self.copies}", "use 1, 3 or 5: an even number survives no more"))
        if problems:
            raise InvalidSettings(problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    url: Secret = setting(doc="redis://user:password@host:port/0")

    def __post_init__(self) -> None:
        if problems := _url_problems("URL", self.url, "redis", "rediss"):
            raise InvalidSettings(problems=problems)


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting as the README and --print-config show it."""

    name: str
    type: str
    default: str
    doc: str
    required: bool


def load(settings: type[T], prefix: str, environ: Mapping[str, str]) -> T:
    """Read `settings` from the environment. Raises InvalidSettings with every missing, malformed or unknown variable."""
    problems: list[FieldProblem] = []
    value = _read(settings, prefix, environ, problems)
    known = {variable.name for variable in variables(settings, prefix)}
    known |= {f"{name}_FILE" for name in known}
    problems += [
        FieldProblem(name, "is not a setting", "see the service's README for the list")
        for name in sorted(environ)
        if name.startswith(prefix) and name not in known
    ]
    if problems or value is None:
        raise InvalidSettings(problems=problems)
    return value


def variables(settings: type, prefix: str) -> Iterator[Variable]:
    """Every variable of a settings class, in the order of its fields."""
    hints = get_type_hints(settings)
    for item in dataclasses.fields(settings):
        group = item.metadata.get("group")
        if group is not None:
            yield from variables(group, prefix + item.metadata["prefix"])
            continue
        required = item.default is MISSING
        shown = "" if required or isinstance(item.default, Secret) else str(item.default)
        yield Variable(prefix + item.name.upper(), _type_name(hints[item.name]), shown, item.metadata.get("doc", ""), required)


def differences(settings: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """The variables whose value is not the default, secrets masked."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.metadata.get("group") is not None:
            yield from differences(value, prefix + item.metadata["prefix"])
        elif value != item.default:
            yield prefix + item.name.upper(), _text_of(value)


def _read(settings: type[T], prefix: str, environ: Mapping[str, str], problems: list[FieldProblem]) -> T | None:
    hints = get_type_hints(settings)
    values: dict[str, object] = {}
    before = len(problems)
    for item in dataclasses.fields(cast("Any", settings)):
        group = item.metadata.get("group")
        if group is not None:
            values[item.name] = _read(group, prefix + item.metadata["prefix"], environ, problems)
            continue
        name = prefix + item.name.upper()
        try:
            text = _text(name, environ)
            values[item.name] = _default(item) if text is None else _parse(text, hints[item.name])
        except ValueError as error:
            problems.append(FieldProblem(name, str(error), item.metadata.get("doc", "")))
    if len(problems) > before:
        return None
    try:
        return settings(**values)
    except InvalidSettings as error:
        problems += [dataclasses.replace(problem, field=prefix + problem.field) for problem in error.problems]
    except ValueError as error:
        problems.append(FieldProblem(prefix.rstrip("_"), str(error)))
    return None


def _default(item: "dataclasses.Field[object]") -> object:
    if item.default is MISSING:
        raise ValueError("is not set")
    return item.default


def _text(name: str, environ: Mapping[str, str]) -> str | None:
    """The value as text, None when it is not set. Raises ValueError when there are two, or a file that cannot be read."""
    text, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if text and path:
        raise ValueError(f"is set, and {name}_FILE too: set one of the two")
    if not path:
        return text or None
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read from {path}: {error.strerror if isinstance(error, OSError) else 'not text'}") from None


def _text_of(value: object) -> str:
    """A value as its variable would have it."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(_text_of, value))
        case _:
            return str(value)


def _is_address(text: str) -> bool:
    _, colon, port = text.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and int(port) < 65536


def _url_problems(name: str, url: Secret, *schemes: str) -> list[FieldProblem]:
    """What is wrong with a URL, without a word of it: it holds a password."""
    if url.reveal().startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return []
    return [FieldProblem(name, f"does not begin with {schemes[0]}://")]


def _parse(text: str, wanted: Any) -> object:
    origin = get_origin(wanted)
    if origin in {Union, types.UnionType}:
        return _parse(text, next(option for option in get_args(wanted) if option is not type(None)))
    if origin is tuple:
        return tuple(_parse(part, get_args(wanted)[0]) for part in text.split(",") if part)
    if wanted is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            raise ValueError(f"is {text!r}: use true or false")
        return text.lower() in {"true", "1"}
    if origin is Literal:
        if text not in get_args(wanted):
            raise ValueError(f"is {text!r}: use one of {', '.join(get_args(wanted))}")
        return text
    if wanted in {int, float}:
        return _number(text, wanted)
    return wanted(text)


def _number(text: str, wanted: type[int] | type[float]) -> int | float:
    try:
        number = wanted(text)
    except ValueError:
        number = math.nan
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"is {text!r}: not {'a whole number' if wanted is int else 'a number'}")
    return number


def _type_name(wanted: Any) -> str:
    origin = get_origin(wanted)
    if origin is tuple:
        return f"list of {_type_name(get_args(wanted)[0])}"
    if origin is Literal:
        return "text"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Secret: "secret", Path: "path"}
    return names.get(wanted, getattr(wanted, "__name__", str(wanted)))
