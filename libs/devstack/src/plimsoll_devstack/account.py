"""Which account runs Postgres: it refuses root, so root lends it an unprivileged one."""

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from plimsoll_devstack.errors import NotReachable

_ACCOUNT = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Run as this user; `pass_search` keeps the right to enter directories that only root may enter (Linux)."""

    uid: int
    gid: int
    pass_search: bool


def unprivileged_account(*paths: Path) -> Account | None:
    """None for an ordinary user; for root, the account that can reach every one of `paths`."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_ACCOUNT)
    blocked = [path for path in paths if not _open_to_others(path)]
    if blocked and sys.platform != "linux":
        raise NotReachable(
            f"Postgres does not run as root, and user {_ACCOUNT} cannot reach {blocked[0]}",
            remedy="Run as an ordinary user, or use a --data directory and an environment below folders that everybody may enter",
        )
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, pass_search=bool(blocked))


def give_tree(path: Path, account: Account | None) -> None:
    """Make `account` the owner of everything under `path`, when root lends one."""
    if account is None or path.stat().st_uid == account.uid:
        return
    for folder, _, files in os.walk(path):
        os.chown(folder, account.uid, account.gid)
        for file in files:
            os.chown(Path(folder, file), account.uid, account.gid, follow_symlinks=False)


def _open_to_others(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents if folder.exists())
