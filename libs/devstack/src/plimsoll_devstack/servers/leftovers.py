"""A Postgres that outlived its supervisor: found by its own pid file, ended before a new one starts."""

import signal
from pathlib import Path

import psutil

_END_WITHIN_S = 30.0


def end_postmaster(cluster: Path) -> None:
    """End the server that still runs on `cluster`, if any, and drop a pid file that names another process by now."""
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    if (server := _server_of(cluster, pid)) is not None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=_END_WITHIN_S)
        except psutil.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=_END_WITHIN_S)
    pid_file.unlink(missing_ok=True)  # its number may belong to anybody now, and Postgres would refuse to start


def _server_of(cluster: Path, pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if str(cluster) in process.cmdline() else None
    except psutil.NoSuchProcess:
        return None
