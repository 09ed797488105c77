"""A served Hub in this process, and those who use it: browsers with a cookie jar each, and programs with a token."""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from fake import FakeRuntime
from quart import Quart
from quart.datastructures import FileStorage
from quart.testing import QuartClient
from quart.testing.connections import TestHTTPConnection, TestWebsocketConnection
from werkzeug.datastructures import Headers

from app.accounts.mail import Mailer
from app.accounts.models import Account
from app.db.tables import TABLES
from app.errors import TooManyRequests
from app.factory import create_app
from app.settings import Settings
from app.web.context import Hub
from app.web.limits import Limit, Limiter

PASSWORD = "a few plain words"
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


class Browser:
    """Keeps cookies, and says with every request that one of the Hub's own pages made it, as browsers do."""

    def __init__(self, app: Quart, **headers: str) -> None:
        self.app = app
        self.client = QuartClient(app)
        self.headers = {"Sec-Fetch-Site": "same-origin", **headers}

    async def send(
        self,
        method: str,
        path: str,
        form: dict[str, str] | None = None,
        *,
        htmx: bool = False,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        json: object = ...,
        files: dict[str, FileStorage] | None = None,
        remote_addr: str = "127.0.0.1",
        scheme: str = "http",
    ) -> Answer:
        more: dict[str, Any] = {} if json is ... else {"json": json}
        response = await self.client.open(
            path,
            method=method,
            form=form,
            data=data,
            files=files,
            headers={**self.headers, **({"HX-Request": "true"} if htmx else {}), **(headers or {})},
            scheme=scheme,
            scope_base={"client": (remote_addr, 40000)},
            **more,
        )
        return Answer(response.status_code, response.headers, await response.get_data(as_text=False))

    async def get(self, path: str, **how: Any) -> Answer:
        return await self.send("GET", path, **how)

    async def post(self, path: str, form: dict[str, str] | None = None, **how: Any) -> Answer:
        return await self.send("POST", path, form, **how)

    async def log_in(self, account: Account) -> Browser:
        answer = await self.post("/login", {"email": account.email or "", "password": PASSWORD})
        assert answer.status == 303
        return self

    def stream(self, path: str) -> TestHTTPConnection:
        """A request whose answer has no end."""
        connection = self.client.request(path, headers={**self.headers, "Accept": "text/event-stream"})
        assert isinstance(connection, TestHTTPConnection)
        return connection

    def websocket(self, path: str, *protocols: str, **headers: str) -> TestWebsocketConnection:
        connection = self.client.websocket(
            path, headers={**self.headers, **headers}, scope_base={"subprotocols": list(protocols)}
        )
        assert isinstance(connection, TestWebsocketConnection)
        return connection

    def terminal(self, session_id: str, protocol: str = "hub.tty.v1") -> TestWebsocketConnection:
        """The session's terminal, as its page opens it."""
        return self.websocket(f"/sessions/{session_id}/tty", protocol, Origin="http://localhost")


@dataclass
class Site:
    """One replica of the Hub."""

    app: Quart
    runtime: FakeRuntime
    frozen: bool = False

    @property
    def hub(self) -> Hub:
        found: Hub = self.app.extensions["hub"]
        return found

    def browser(self) -> Browser:
        return Browser(self.app)

    async def person(self, email: str, *, admin: bool = False) -> tuple[Account, Browser]:
        """Somebody with an account, logged in."""
        account = await self.hub.accounts.add(email, admin=admin, password=PASSWORD)
        return account, await self.browser().log_in(account)

    async def program(self, account: Account) -> Browser:
        """A program of somebody's: no cookies, a token, and no word of a browser's."""
        program = Browser(self.app, Authorization=f"Bearer {await self.hub.accounts.make_token(account)}")
        del program.headers["Sec-Fetch-Site"]
        return program

    def use_up(self, limit: Limit, key: object) -> None:
        """From now on this limit refuses the key: for the site's limits, time stands still."""
        if not self.frozen:
            self.frozen = True
            self.app.extensions["limiter"] = Limiter(lambda: 0.0)
        with contextlib.suppress(TooManyRequests):
            while True:
                self.app.extensions["limiter"].spend(limit, str(key))

    async def until(self, user_id: UUID, holds: Callable[[], Any]) -> None:
        """Wait until `await holds()` is true, looking whenever a session of the user's has changed."""
        async with asyncio.timeout(30):
            with self.hub.changes.subscribe(user_id) as changes:
                while not await holds():
                    await changes.wait(1.0)

    async def until_state(self, user_id: UUID, session_id: str, state: str) -> None:
        async def there() -> bool:
            return (await self.hub.sessions.get(user_id, session_id)).state == state

        await self.until(user_id, there)


@asynccontextmanager
async def serve(
    settings: Settings, *, mailer: Mailer | None = None, beside: Site | None = None, address: str = "127.0.0.1:1"
) -> AsyncIterator[Site]:
    """A replica, from its start to its end; `beside` another one, on the same Postgres and with the same runs."""
    runtime = FakeRuntime(beside.runtime.world if beside else None, address=address)
    app = create_app(settings, mailer=mailer, runtime=runtime, hasher=FAST)
    engines = [table._meta.db for table in TABLES] if beside else []
    async with app.test_app():
        # Piccolo's tables are one for the process: they stay with the replica that outlives this one.
        for table, engine in zip(TABLES, engines, strict=False):
            table._meta.db = engine
        yield Site(app, runtime)
