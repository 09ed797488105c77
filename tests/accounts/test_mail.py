"""Mails leave the Hub whole, or the one who sends them is told."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
from collections.abc import AsyncIterator

import pytest

from app.accounts.mail import PrintMailer, SmtpMailer
from app.errors import Unavailable

SENDER = "VisiData Hub <hub@example.org>"
TEXT = "Open this link to log in:\n\nhttps://hub.example.org/login/link/abc\n\nGrüße.\n"


class Post:
    """A mail server of the simplest kind. It keeps what it is told, and refuses recipients at `nowhere`."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.mails: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 post ready\r\n")
        while line := (await reader.readline()).decode().strip():
            self.said.append(line)
            match line.split(" ", 1)[0].upper():
                case "EHLO":
                    writer.write(b"250-post\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n")
                case "AUTH":
                    writer.write(b"235 welcome\r\n")
                case "RCPT" if "nowhere" in line:
                    writer.write(b"550 no such box\r\n")
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 kept\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"250 fine\r\n")
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    post = Post()
    server = await asyncio.start_server(post.serve, "127.0.0.1", 0)
    post.port = server.sockets[0].getsockname()[1]
    async with server:
        yield post


async def test_a_mail_reaches_the_server_as_it_was_written(post: Post) -> None:
    await SmtpMailer(f"smtp://127.0.0.1:{post.port}", SENDER).send("ada@example.org", "Your link", TEXT)
    (raw,) = post.mails
    mail = email.message_from_bytes(raw.removesuffix(b".\r\n"), policy=email.policy.default)
    assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, "ada@example.org", "Your link")
    body = mail.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == TEXT


async def test_the_name_and_password_of_the_address_are_shown_to_the_server(post: Post) -> None:
    mailer = SmtpMailer(f"smtp://me%40example.org:p%2Fw@127.0.0.1:{post.port}", SENDER)
    await mailer.send("ada@example.org", "Your link", TEXT)
    (said,) = [line for line in post.said if line.startswith("AUTH PLAIN")]
    assert base64.b64decode(said.split()[2]) == b"\0me@example.org\0p/w"


async def test_a_refused_mail_is_told(post: Post) -> None:
    with pytest.raises(Unavailable, match="could not be sent"):
        await SmtpMailer(f"smtp://127.0.0.1:{post.port}", SENDER).send("ada@nowhere", "Your link", TEXT)
    assert post.mails == []


async def test_a_server_that_is_not_there_is_told() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    for scheme in ("smtp", "smtps"):
        with pytest.raises(Unavailable):
            await SmtpMailer(f"{scheme}://127.0.0.1:{port}", SENDER).send("ada@example.org", "Your link", TEXT)


async def test_without_a_server_mails_are_printed_with_their_link_whole(capsys: pytest.CaptureFixture[str]) -> None:
    await PrintMailer().send("ada@example.org", "Your link", TEXT)
    printed = capsys.readouterr().out
    assert "Mail to ada@example.org: Your link" in printed
    assert "    https://hub.example.org/login/link/abc\n" in printed
