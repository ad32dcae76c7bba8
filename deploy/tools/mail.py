"""E-mail by SMTP, to the recipients that the operator allows."""

import asyncio
import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable

Arguments: TypeAlias = "dict[str, JsonValue]"


async def mail_send(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Sends one mail. From the first byte of its text on, nobody knows whether it was sent when the connection breaks."""
    listed = arguments["to"]
    recipients = [str(one) for one in listed] if isinstance(listed, list) else []
    mark, _, allowed_text = context.credentials["mail_recipients"].partition(":")
    allowed = allowed_text.lower().replace(",", " ").split() if mark.strip() == "allow" else []
    refused = [one for one in recipients if not _may_get(one.lower(), allowed)]
    if refused:
        raise ToolRejected("RECIPIENT_NOT_ALLOWED", f"{len(refused)} of the recipients may not get mail from here")
    server = urlsplit(context.credentials["smtp_server"])
    if server.scheme not in {"smtp", "smtps"} or not server.hostname or "@" not in server.path:
        raise ToolRejected("MISCONFIGURED", "the mail server's address has a mistake; the operator has to mend it")
    message = _message(arguments, unquote(server.path.strip("/")), recipients, context)
    accepted = await asyncio.to_thread(_sent, server, message, recipients, context.deadline_s)
    return {"message_id": str(message["Message-ID"]), "accepted": list(accepted)}


def _may_get(recipient: str, allowed: list[str]) -> bool:
    return "*" in allowed or recipient in allowed or "@" + recipient.partition("@")[2] in allowed


def _message(arguments: Arguments, sender: str, recipients: list[str], context: ToolContext) -> EmailMessage:
    """The same call makes the same Message-ID, so that mail programs show a second copy once."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = str(arguments["subject"])
    message["Date"] = formatdate(localtime=False)
    mark = hashlib.sha256(f"{context.tenant}\0{context.call_key}".encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{mark}@{sender.rpartition('@')[2] or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"
    if arguments["reply_to"]:
        message["Reply-To"] = str(arguments["reply_to"])
    message.set_content(str(arguments["text"]))
    return message


def _sent(url: SplitResult, message: EmailMessage, recipients: list[str], deadline_s: float) -> list[str]:
    """Runs in a thread. Until the text is sent, every failure means that nothing was."""
    patience_s = max(1.0, min(20.0, deadline_s / 3))
    try:
        connection = _connected(url.scheme, url.hostname or "", url.port, patience_s)
    except (OSError, smtplib.SMTPException) as error:
        raise ToolUnavailable("MAIL_SERVER_AWAY", "the mail server cannot be reached") from error
    try:
        accepted = _prepared(connection, message, recipients, unquote(url.username or ""), unquote(url.password or ""))
        code, _ = connection.data(message.as_bytes(policy=message.policy.clone(linesep="\r\n", max_line_length=76)))
        if code != 250:
            raise ToolRejected("MAIL_REFUSED", f"the mail server refuses the mail with {code}")
        return accepted
    except smtplib.SMTPDataError as error:
        raise ToolRejected("MAIL_REFUSED", f"the mail server refuses the mail with {error.smtp_code}") from error
    except smtplib.SMTPServerDisconnected as error:
        raise ConnectionResetError("the mail server ended the connection") from error
    finally:
        connection.close()


def _connected(scheme: str, host: str, port: int | None, patience_s: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=patience_s, context=context)
    connection = smtplib.SMTP(host, port or 587, timeout=patience_s)
    connection.ehlo()
    if connection.has_extn("starttls"):
        connection.starttls(context=context)
    elif host not in {"localhost", "127.0.0.1", "::1"}:
        connection.close()
        raise ToolRejected("NOT_ENCRYPTED", "the mail server offers no STARTTLS, and it is not on this machine")
    return connection


def _prepared(connection: smtplib.SMTP, message: EmailMessage, recipients: list[str], user: str, password: str) -> list[str]:
    """Everything before the text; the recipients that the server takes. Raises ToolRejected or ToolUnavailable: nothing was sent."""
    try:
        connection.ehlo_or_helo_if_needed()
        if user:
            connection.login(user, password)
        code, _ = connection.mail(str(message["From"]))
        if code != 250:
            raise ToolRejected("SENDER_REFUSED", f"the mail server refuses the sender with {code}")
        answers = {one: connection.rcpt(one)[0] for one in recipients}
    except smtplib.SMTPAuthenticationError as error:
        raise ToolRejected("LOGIN_REFUSED", "the mail server does not take the credential") from error
    except (OSError, smtplib.SMTPException) as error:
        raise ToolUnavailable("MAIL_SERVER_AWAY", "the mail server broke off before the mail was sent") from error
    accepted = [one for one, code in answers.items() if code in {250, 251}]
    if len(accepted) < len(recipients):
        for_now = all(400 <= code < 500 for code in answers.values() if code not in {250, 251})
        problem = f"the mail server refuses {len(recipients) - len(accepted)} of the recipients; nobody got the mail"
        raise ToolUnavailable("RECIPIENT_REFUSED", problem) if for_now else ToolRejected("RECIPIENT_REFUSED", problem)
    return accepted
