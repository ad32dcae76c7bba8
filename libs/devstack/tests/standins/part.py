"""A tiny service: answers /readyz on PORT, and notes its start and end in JOURNAL.

part.py NAME PORT JOURNAL BEHAVIOUR      BEHAVIOUR: serve | exit | silent | deaf
"""

import signal
import socket
import sys
from pathlib import Path

name, port, journal, behaviour = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]


def note(what: str) -> None:
    with journal.open("a") as file:
        file.write(f"{what} {name}\n")


def end(*_: object) -> None:
    note("stopped")
    sys.exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else end)
if behaviour == "exit":
    sys.stderr.write("cannot find my settings\n")
    sys.exit(3)
with socket.create_server(("127.0.0.1", port)) as server:
    note("started")
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            status = "503 Starting" if behaviour == "silent" else "200 OK"
            connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
