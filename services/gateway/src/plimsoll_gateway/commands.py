"""python -m plimsoll_gateway keys …: administration of API keys, straight on the gateway's database."""

import argparse
import asyncio
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from plimsoll_runtime import logs, postgres
from plimsoll_runtime.clock import Clock, SystemClock
from plimsoll_runtime.errors import FieldProblem, Invalid, PlimsollError
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.settings import InvalidSettings, PostgresSettings, load

from plimsoll_gateway.adapters.postgres_keys import TABLES, PostgresKeyStore
from plimsoll_gateway.config import PREFIX, SCHEMA
from plimsoll_gateway.domain.principal import KeyRecord
from plimsoll_gateway.domain.scopes import scopes_named
from plimsoll_gateway.service.keys import COMMAND, KeyRequest, KeyRing

_DAYS = re.compile(r"(\d{1,5})d", re.ASCII)


def keys_command(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; 0 when it is done, 1 when it failed, 2 when it was asked wrongly."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load(PostgresSettings, f"{PREFIX}POSTGRES_", environ)
        asyncio.run(_run(arguments, settings))
    except PlimsollError as error:
        remedy = f"\n  {error.remedy}" if error.remedy else ""
        sys.stderr.write(f"keys: {error.message}{remedy}\n")
        return 2 if isinstance(error, InvalidSettings | Invalid) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m plimsoll_gateway keys", description=f"API keys, in the database of {PREFIX}POSTGRES_DSN."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it, once")
    create.add_argument("--tenant", required=True)
    create.add_argument("--name", required=True, help="what the key is for; records of approvals and cancellations name it")
    create.add_argument("--scopes", required=True, help="roles (viewer, operator, admin) or scopes, with commas between them")
    create.add_argument("--expires", default="", help="a time such as 2027-01-31T12:00:00Z, or days such as 90d; for ever without it")
    listing = commands.add_parser("list", help="list a tenant's keys")
    listing.add_argument("--tenant", required=True)
    rotate = commands.add_parser("rotate", help="make a successor of a key and print it, once; the old one works on for a while")
    rotate.add_argument("--tenant", required=True)
    rotate.add_argument("--overlap", default=24.0, metavar="HOURS", type=float, help="how long the old key works on; 24 without it")
    rotate.add_argument("key_id", help="as `list` shows it: key_…")
    revoke = commands.add_parser("revoke", help="take a key back; it stops working within five seconds")
    revoke.add_argument("--tenant", required=True)
    revoke.add_argument("key_id", help="as `list` shows it: key_…")
    return parser


async def _run(arguments: argparse.Namespace, settings: PostgresSettings) -> None:
    async with postgres.open_pool(settings, SCHEMA, application="gateway-keys") as pool:
        await postgres.migrate(pool, SCHEMA, TABLES)
        clock = SystemClock()
        ring = KeyRing(PostgresKeyStore(pool), clock, RandomIds(), partial(secrets.token_urlsafe, 32), logs.get("gateway"))
        match arguments.command:
            case "create":
                new = await ring.create(_request(arguments, clock))
                sys.stdout.write(f"{new.text}\n")
                sys.stderr.write(f"{_line(new.record)}\nThis is the only time that the key is shown.\n")
            case "list":
                sys.stdout.writelines(f"{_line(record)}\n" for record in await ring.of_tenant(arguments.tenant))
            case "rotate":
                rotated = await ring.rotate(arguments.tenant, arguments.key_id, COMMAND, timedelta(hours=arguments.overlap))
                sys.stdout.write(f"{rotated.new.text}\n")
                sys.stderr.write(f"{_line(rotated.new.record)}\n{_line(rotated.old)}\nThis is the only time that the key is shown.\n")
            case "revoke":
                sys.stdout.write(f"{_line(await ring.revoke(arguments.tenant, arguments.key_id))}\n")


def _request(arguments: argparse.Namespace, clock: Clock) -> KeyRequest:
    try:
        scopes = scopes_named(arguments.scopes)
    except ValueError as error:
        raise Invalid(problems=(FieldProblem("--scopes", str(error)),), reason="INVALID_KEY_REQUEST") from error
    return KeyRequest(tenant=arguments.tenant, name=arguments.name, scopes=scopes, expires_at=_expiry(arguments.expires, clock))


def _expiry(text: str, clock: Clock) -> datetime | None:
    if not text:
        return None
    try:
        if days := _DAYS.fullmatch(text):
            return clock.now() + timedelta(days=int(days[1]))
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        problem = FieldProblem("--expires", f"{text!r} is no time", "give a time such as 2027-01-31T12:00:00Z, or days such as 90d")
        raise Invalid(problems=(problem,), reason="INVALID_KEY_REQUEST") from error


def _line(record: KeyRecord) -> str:
    state = (
        f"revoked {_time(record.revoked_at)}"
        if record.revoked_at
        else f"expires {_time(record.expires_at)}"
        if record.expires_at
        else "good"
    )
    return f"{record.key_id}  {record.tenant}  {record.name!r}  {state}  made {_time(record.created_at)}  {','.join(sorted(record.scopes))}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
