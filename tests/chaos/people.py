"""People who start, stop, restart and delete sessions, through whichever replica answers, and what they were promised.

Each session has one person who asks for one thing after the other and, as a load balancer's client would, asks again
elsewhere until there is an answer. So what was asked for last is always known, and so is how often a start was.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from chaos.check import Finding, Wish
from chaos.replicas import Replica

PAUSE = 14.0  # Seconds between two wishes for one session, on average.
ANSWER_WITHIN = 60.0  # Seconds; longer than any replica is frozen, so that no wish is carried out after a later one.


@dataclass(eq=False)
class Wished:
    """One session of one person's, and what they have asked for."""

    token: str
    address: str  # What a load balancer would tell of where they are.
    name: str
    id: str | None = None
    wish: Wish = "running"
    starts: int = 0
    """How many starts were asked for, those included whose answer was lost."""
    asking: bool = False
    """Whether an answer is waited for just now, so that nobody can say which wish holds."""


class People:
    """All who ask. `tokens` are API tokens, each with how many sessions its user wants."""

    def __init__(self, tokens: Sequence[tuple[str, int]], replicas: Sequence[Replica], dice: random.Random) -> None:
        self.asked: Counter[str] = Counter()
        self.repeated = 0
        self.wished: list[Wished] = []
        """All sessions that were ever asked for, those that were deleted included."""
        self.names: set[str] = set()
        """Names of sessions that may have been made twice: the answer to the first request was lost."""
        self.broken: list[Finding] = []
        self._tokens = tokens
        self._replicas = replicas
        self._dice = dice
        self._over = asyncio.Event()

    async def live(self) -> None:
        """Ask for one thing after the other, until `leave`; returns when the last answer has come."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN, sock_connect=2)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as self._http,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            for token, sessions in self._tokens:
                group.create_task(self._look(token))
                for _ in range(sessions):
                    number += 1
                    address = f"10.0.{number // 250}.{number % 250 + 1}"
                    group.create_task(self._want_one(token, address, f"number {number}"))

    def leave(self) -> None:
        self._over.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def _want_one(self, token: str, address: str, name: str) -> None:
        """One session at a time: whoever deletes theirs wants another."""
        await self._pause(self._dice.uniform(0, PAUSE / 2))
        made = 0
        while not self._over.is_set():
            made += 1
            wished = Wished(token, address, f"{name}, {made}")
            self.wished.append(wished)
            await self._create(wished)
            while wished.wish != "deleted" and not self._over.is_set():
                await self._pause(self._dice.expovariate(1 / PAUSE))
                if not self._over.is_set():
                    await self._wish(wished)

    async def _wish(self, wished: Wished) -> None:
        chance = self._dice.random()
        if chance < 0.1:
            await self._ask_for(wished, "deleted")
        elif wished.wish == "stopped":
            await self._ask_for(wished, "running")
        elif chance < 0.45:
            await self._ask_for(wished, "stopped")
        elif chance < 0.85:
            await self._ask_for(wished, "stopped")
            await self._pause(self._dice.choice((0.0, 0.0, 0.1, 1.0)))
            await self._ask_for(wished, "running")
        else:
            await self._ask_for(wished, "running")  # Which it is to do already, unless it has ended.

    async def _create(self, wished: Wished) -> None:
        wished.starts += 1
        while wished.id is None:
            status, body = await self._try(wished, "POST", "", {"name": wished.name})
            if status == 201:
                wished.id = body["id"]
                return
            if status not in (0, 503):
                self._unexpected(wished, "create", status, body)
            self.names.add(wished.name)
            status, body = await self._try(wished, "GET", "")
            if status == 200:
                wished.id = next((one["id"] for one in body if one["name"] == wished.name), None)
            if wished.id is None:
                await self._breathe()

    async def _ask_for(self, wished: Wished, wish: Wish) -> None:
        how = {"running": ("POST", "start"), "stopped": ("POST", "stop"), "deleted": ("DELETE", "")}
        method, verb = how[wish]
        wished.starts += wish == "running"
        wished.asking = True
        try:
            await self._ask_until_answered(wished, wish, method, verb)
        finally:
            wished.asking = False

    async def _ask_until_answered(self, wished: Wished, wish: Wish, method: str, verb: str) -> None:
        again = False
        while True:
            status, body = await self._try(wished, method, f"/{wished.id}/{verb}".rstrip("/"))
            if status in (200, 202, 204) or (status == 404 and wish == "deleted" and again):
                wished.wish = wish
                return
            if status not in (0, 503):
                self._unexpected(wished, wish, status, body)
                if status == 404:
                    wished.wish = "deleted"
                    return
            again = True
            self.repeated += 1
            await self._breathe()

    def _unexpected(self, wished: Wished, what: str, status: int, body: Any) -> None:
        self.broken.append(Finding("lost", wished.id or "", f"asked for {what}, answered {status}: {body}"))

    async def _breathe(self) -> None:
        await asyncio.sleep(self._dice.uniform(0.1, 0.6))

    async def _try(self, wished: Wished, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request to a replica that seems to be alive. Status 0 where nobody answered."""
        while not (alive := [replica for replica in self._replicas if replica.alive]):
            await asyncio.sleep(0.1)
        url = f"{self._dice.choice(alive).url}/api/v1/sessions{path}"
        headers = {"Authorization": f"Bearer {wished.token}", "X-Forwarded-For": wished.address}
        self.asked[method] += 1
        try:
            async with self._http.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return 0, None

    async def _look(self, token: str) -> None:
        """See that what was stopped stays so: nobody has asked for its start since."""
        watcher = Wished(token, f"10.1.0.{self._dice.randrange(1, 250)}", "")
        while not self._over.is_set():
            await self._pause(self._dice.uniform(2, 5))
            theirs = (one for one in self.wished if one.token == token and not one.asking)
            stopped = {one.id: one for one in theirs if one.wish == "stopped"}
            before = {one.id: one.starts for one in stopped.values()}
            status, body = await self._try(watcher, "GET", "")
            for shown in body if status == 200 else ():
                one = stopped.get(shown["id"])
                if one is not None and one.starts == before[one.id] and shown["state"] in ("starting", "running"):
                    words = f"it was stopped, and is {shown['state']} again without anybody's doing"
                    self.broken.append(Finding("orphans", one.id or "", words))
