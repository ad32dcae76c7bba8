"""Asks the service in this container whether it is ready; small, because it runs every few seconds beside every service."""

import socket
import sys

_ADMIN = ("127.0.0.1", 7001)
_WITHIN_S = 4.0


def main() -> None:
    """Exits with 0 when /readyz answers 200, else with 1 and what it answered."""
    try:
        with socket.create_connection(_ADMIN, timeout=_WITHIN_S) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError as error:
        sys.exit(f"the admin port does not answer: {error}")
    status, _, rest = answer.partition(b"\r\n")
    sys.stdout.write(rest.partition(b"\r\n\r\n")[2].decode(errors="replace"))
    sys.exit(0 if b" 200 " in status else 1)


if __name__ == "__main__":
    main()
