"""E-mail, against a server that follows a script."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from typing import Any

import pytest
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable

Call = Callable[..., Awaitable[Any]]
MAIL = {"to": ["ann@example.com"], "subject": "Héllo", "text": "Dear Ann,\n.\nbye"}


class SmtpServer:
    """Takes mail; `answers` replace what it says to a command, and `None` cuts the connection there."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {}
        self.mails: list[bytes] = []
        self.recipients: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["SmtpServer"]:
        server = await asyncio.start_server(self._attend, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            word = line.split()[0].upper().decode() if line.split() else ""
            if word == "RCPT":
                self.recipients.append(line.decode().strip())
            answer = self.answers.get(word, b"354 go on\r\n" if word == "DATA" else b"250 fine\r\n")
            if answer is None:
                break
            writer.write(answer)
            if word == "DATA" and answer.startswith(b"354"):
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                done = self.answers.get("DONE", b"250 taken\r\n")
                if done is None:
                    break
                writer.write(done)
        writer.close()


@pytest.fixture
async def server(credentials: dict[str, str]) -> AsyncIterator[SmtpServer]:
    async with SmtpServer().serving() as server:
        credentials["smtp_server"] = f"smtp://127.0.0.1:{server.port}/desk@shop.example"
        credentials["mail_recipients"] = "allow: @example.com, Bob@Other.org"
        yield server


async def test_a_mail_arrives_as_it_was_approved(call: Call, server: SmtpServer) -> None:
    result = await call("mail_send", **MAIL, reply_to="help@shop.example")
    mail = message_from_bytes(server.mails[0].removesuffix(b".\r\n"), policy=policy.default)
    assert (mail["From"], mail["To"], mail["Subject"], mail["Reply-To"]) == (
        "desk@shop.example",
        "ann@example.com",
        "Héllo",
        "help@shop.example",
    )
    assert mail["Message-ID"] == result["message_id"]
    assert result["accepted"] == ["ann@example.com"]
    assert mail.get_content().replace("\r\n", "\n").strip().startswith("Dear Ann,")


async def test_the_same_call_has_the_same_message_id(call: Call, server: SmtpServer) -> None:
    one, again = await call("mail_send", **MAIL), await call("mail_send", **MAIL)
    other = await call("mail_send", **MAIL, tenant="umbrella")
    assert one["message_id"] == again["message_id"] != other["message_id"]


@pytest.mark.parametrize("to", [["eve@evil.test"], ["ann@example.com", "eve@evil.test"], ["x@sub.example.com"], ["carl@other.org"]])
async def test_nobody_gets_mail_whom_the_operator_does_not_allow(call: Call, server: SmtpServer, to: list[str]) -> None:
    with pytest.raises(ToolRejected, match="RECIPIENT_NOT_ALLOWED"):
        await call("mail_send", **{**MAIL, "to": to})
    assert server.recipients == []


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "a\r\nBcc: eve@evil.test"},
        {"subject": "a\nb"},
        {"to": ["ann@example.com\r\nRCPT TO:<eve@evil.test>"]},
        {"to": ["ann@example.com,eve@evil.test"]},
        {"reply_to": "a@b.c\nX: y"},
        {"to": []},
    ],
)
async def test_nothing_that_forges_a_header_passes_the_schema(call: Call, server: SmtpServer, changed: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        await call("mail_send", **{**MAIL, **changed})


@pytest.mark.parametrize(
    ("word", "answer", "raised"),
    [
        ("MAIL", b"550 no\r\n", ToolRejected),
        ("RCPT", b"550 no\r\n", ToolRejected),
        ("RCPT", b"450 later\r\n", ToolUnavailable),
        ("RCPT", None, ToolUnavailable),
        ("DATA", b"554 no\r\n", ToolRejected),
        ("DONE", b"554 spam\r\n", ToolRejected),
        ("DONE", None, ConnectionError),
    ],
)
async def test_what_the_server_says_is_told_for_what_it_means(
    call: Call, server: SmtpServer, word: str, answer: bytes | None, raised: type[Exception]
) -> None:
    server.answers[word] = answer
    with pytest.raises(raised):
        await call("mail_send", **MAIL)


async def test_a_server_that_is_away_was_not_sent_anything(call: Call, server: SmtpServer, credentials: dict[str, str]) -> None:
    credentials["smtp_server"] = "smtp://127.0.0.1:1/desk@shop.example"
    with pytest.raises(ToolUnavailable):
        await call("mail_send", **MAIL)


@pytest.mark.parametrize("address", ["ftp://x/a@b.example", "smtp:///a@b.example", "smtp://127.0.0.1:1", "smtp://127.0.0.1:1/nobody"])
async def test_a_mail_server_with_a_mistake_is_told(call: Call, server: SmtpServer, credentials: dict[str, str], address: str) -> None:
    credentials["smtp_server"] = address
    with pytest.raises(ToolRejected, match="MISCONFIGURED"):
        await call("mail_send", **MAIL)


async def test_a_list_of_recipients_without_leave_allows_nobody(call: Call, server: SmtpServer, credentials: dict[str, str]) -> None:
    credentials["mail_recipients"] = "*"
    with pytest.raises(ToolRejected, match="RECIPIENT_NOT_ALLOWED"):
        await call("mail_send", **MAIL)
