"""Sending mail: one interface, an SMTP sender, and one that prints where no SMTP server is set.

Must not know what the mails are about.
"""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.errors import Unavailable
from app.output import say


class Mailer(Protocol):
    async def send(self, to: str, subject: str, text: str) -> None:
        """Hand the mail over. Raises Unavailable where that fails."""


class PrintMailer:
    """Prints mails where the Hub runs: for one machine, where the reader sits in front of it."""

    async def send(self, to: str, subject: str, text: str) -> None:
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        say(f"\nMail to {to}: {subject}\n\n{indented}\n")


class SmtpMailer:
    """Sends through `smtp://` (STARTTLS where the server offers it) or `smtps://` (TLS from the start)."""

    def __init__(self, url: str, sender: str) -> None:
        self.parts = urlsplit(url)
        self.sender = sender

    async def send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message.set_content(text)
        tls = self.parts.scheme == "smtps"
        try:
            await aiosmtplib.send(
                message,
                hostname=self.parts.hostname,
                port=self.parts.port or (465 if tls else 587),
                username=unquote(self.parts.username) if self.parts.username else None,
                password=unquote(self.parts.password) if self.parts.password else None,
                use_tls=tls,
                tls_context=ssl.create_default_context(),
                timeout=15,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unavailable("The mail could not be sent. Try again in a few minutes.") from error
