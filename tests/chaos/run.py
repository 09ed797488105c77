"""A chaos run: the world, the faults by their plan, and the reckoning."""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import logging
import random
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from app.accounts.mail import PrintMailer
from app.accounts.service import Accounts
from app.aio import Supervisor
from app.db.database import Database
from app.settings import Settings
from chaos import check, replicas
from chaos.check import Finding, Row
from chaos.cluster import ChaosCluster
from chaos.people import People
from chaos.plan import Blow, plan

REPLICAS = 3
PER_USER, PER_GUEST = 20, 3
ROOM = 0.6  # HUB_MAX_RUNS, as a part of all sessions: about as many as are wanted at once, so that some wait in line.
CALM = 3  # Looks in a row, a second apart, in which nothing is wrong.
SHOWN = 12  # Findings that are shown whole.
LINES = 40  # Of the log, for each of them.


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="of the plan of faults")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long there are faults")
    parser.add_argument("--settle", type=float, default=120.0, help="most seconds until all is well after them")
    parser.add_argument("--keep", action="store_true", help="keep the logs when nothing is wrong, too")
    options = parser.parse_args(arguments)
    logging.getLogger("aiohttp.server").disabled = True  # The emulated API server's connections are cut on purpose.
    folder = Path(tempfile.mkdtemp(prefix="hub-chaos-"))
    found = asyncio.run(_Run(folder, options.seed, options.sessions).run(options.seconds, options.settle))
    if found or options.keep:
        say(f"The logs are in {folder}.")
    else:
        shutil.rmtree(folder)
    say(check.summary(found, options.seed))
    return 1 if found else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Run:
    def __init__(self, folder: Path, seed: int, sessions: int) -> None:
        self.seed = seed
        self.sessions = sessions
        self.folder = folder
        self.room = round(sessions * ROOM)
        self.cluster = ChaosCluster(folder, seed)
        self.postgres = replicas.Postgres(folder)
        self.replicas: list[replicas.Replica] = []
        self.blows: collections.Counter[str] = collections.Counter()
        self.began = 0.0

    async def run(self, seconds: float, settle: float) -> list[Finding]:
        await self.postgres.start()
        await self.cluster.start()
        try:
            self.people = People(await self._make_users(), self.replicas, random.Random(self.seed + 3))
            return await self._run(seconds, settle)
        finally:
            await asyncio.gather(*(replica.stop() for replica in self.replicas))
            await self.cluster.stop()
            await self.postgres.stop()

    async def _run(self, seconds: float, settle: float) -> list[Finding]:
        loop = asyncio.get_running_loop()
        common = replicas.settings(
            self.postgres.url,
            self.cluster.kubeconfig,
            HUB_MAX_RUNS=str(self.room),
            HUB_SESSIONS_PER_USER=str(PER_USER * 2),
            HUB_GUEST_SESSIONS=str(PER_GUEST * 2),
            HUB_START_TIMEOUT="10m",  # However much fails, a start does not: it only takes longer.
            HUB_STOP_GRACE="1s",
            HUB_K8S_HOME="pvc",
            HUB_LOG_LEVEL="DEBUG",
            **({"HUB_WARM_RUNS": str(self.warm)} if self.warm else {}),
        )
        for number in range(REPLICAS):
            self.replicas.append(replicas.Replica(number, self.folder, common))
            self.replicas[-1].start()
        await self._serving()
        self.began = loop.time()
        living = asyncio.create_task(self.people.live(), name="people")
        telling = asyncio.create_task(self._tell(), name="tell")
        self.cluster.begin()
        async with asyncio.TaskGroup() as group:
            for blow in plan(self.seed, seconds):
                await asyncio.sleep(max(0.0, self.began + blow.at - loop.time()))
                group.create_task(self._strike(blow))
            await asyncio.sleep(max(0.0, self.began + seconds - loop.time()))
            self.people.leave()
            self.cluster.end()
        self.cluster.end()  # What a last outage has left.
        await living
        say(f"The faults are over: {', '.join(f'{count} {what}' for what, count in sorted(self.blows.items()))}.")
        ended = loop.time()
        found = [*await self._settled(settle), *self.people.broken, *self.cluster.witness.findings()]
        telling.cancel()
        took = loop.time() - ended
        self._report(took)
        if found:
            await self._accuse(found)
        return found

    async def _make_users(self) -> list[tuple[str, int]]:
        """API tokens and how many sessions each user wants: a fifth of all sessions are guests'."""
        known = Settings(database_url=self.postgres.url, max_guests=self.sessions)
        database, tasks = Database(known), Supervisor()
        await database.start()
        try:
            await database.migrate()
            accounts = Accounts(known, PrintMailer(), tasks)
            people: list[tuple[str, int]] = []
            left = self.sessions
            while left:
                guest = left <= self.sessions // 5
                account = await (accounts.add_guest() if guest else accounts.add(f"user{left}@example.org"))
                wants = min(left, PER_GUEST if guest else PER_USER, left if guest else left - self.sessions // 5)
                people.append((await accounts.make_token(account), wants))
                left -= wants
            return people
        finally:
            await tasks.close()
            await database.stop()

    @property
    def warm(self) -> int:
        """Pods of the warm pool, where the Hub has one."""
        return 5 if "warm_runs" in {option.name for option in dataclasses.fields(Settings)} else 0

    async def _serving(self) -> None:
        """Until all replicas answer."""
        for replica in self.replicas:
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", replica.port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                break

    # Faults

    async def _strike(self, blow: Blow) -> None:
        replica = self.replicas[int(blow.target * len(self.replicas))]
        what = f"{blow.kind} {blow.how}".strip()
        doing: Callable[[], Awaitable[object]] | None = None
        match blow.kind:
            case "kill":
                replica.end(signal.SIGKILL, blow.lasts)
            case "leave":
                replica.end(signal.SIGTERM, blow.lasts)
            case "freeze":
                doing = lambda: replica.freeze(blow.lasts)  # noqa: E731
            case "postgres":
                doing = lambda: self.postgres.restart(blow.how, blow.lasts)  # noqa: E731
            case "watches":
                self.cluster.hit_watches(blow.how)
            case "hang":
                doing = lambda: self.cluster.hang(blow.how, blow.lasts)  # noqa: E731
            case "outage":
                doing = lambda: self.cluster.outage(blow.lasts)  # noqa: E731
            case "pod":
                what = self.cluster.hit_pod(blow)
        self.blows[blow.kind] += 1
        self._log(what)
        if doing is not None:
            await doing()

    def _log(self, words: str) -> None:
        with (self.folder / "faults.log").open("a") as log:
            log.write(f"{asyncio.get_running_loop().time() - self.began:7.2f} {words}\n")

    # The reckoning

    async def _look(self) -> tuple[list[dict[str, Any]], list[Finding]]:
        """The Hub's rows, and what is wrong with them and with the pods."""
        connection = await asyncpg.connect(self.postgres.url, timeout=5)
        try:
            rows = [dict(row) for row in await connection.fetch("SELECT * FROM sessions ORDER BY id", timeout=10)]
        finally:
            await connection.close()
        wishes = {one.id: one.wish for one in self.people.wished if one.id is not None}
        # Of two that were made because an answer was lost, the person knows one. The other is to run all the same.
        wishes |= {row["id"]: "running" for row in rows if row["id"] not in wishes and row["name"] in self.people.names}
        names = {field.name for field in dataclasses.fields(Row)}
        table = [Row(**{name: value for name, value in row.items() if name in names}) for row in rows]
        found = check.findings(
            table, self.cluster.pods(), wishes, ended=self.cluster.ended, most=self.room, warm=self.warm
        )
        starts = {one.id: one.starts for one in self.people.wished}
        found += [
            Finding("doubled", row.id, f"{row.generation} runs, though a start was asked for {starts[row.id]} times")
            for row in table
            if row.generation > starts.get(row.id, 1)
        ]
        return rows, found

    async def _settled(self, most: float) -> list[Finding]:
        """What is still wrong after `most` seconds; empty as soon as nothing has been for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + most
        calm = 0
        while True:
            _, found = await self._look()
            calm = 0 if found else calm + 1
            if calm == CALM or loop.time() > until:
                return found
            await asyncio.sleep(1)

    async def _tell(self) -> None:
        """A line now and then. What the database says is left out while it is away."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(10)
            alive = sum(replica.alive for replica in self.replicas)
            words = f"{loop.time() - self.began:4.0f} s: {alive} replicas, {len(self.cluster.pods())} pods"
            try:
                rows, found = await self._look()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                say(f"{words}, no Postgres")
                continue
            states = collections.Counter(row["state"] for row in rows)
            in_words = ", ".join(f"{count} {state}" for state, count in states.most_common())
            say(f"{words}; sessions: {in_words}; {len(found)} not as they should be")

    def _report(self, took: float) -> None:
        witness, api = self.cluster.witness, self.cluster.api
        runs, creates = len(witness.runs), api.requests["create", "pods"]
        say(
            f"{len(self.people.wished)} sessions, {runs} runs, {creates} creates and {api.requests['delete', 'pods']} "
            f"deletes ({creates / max(1, runs):.2f} and {api.requests['delete', 'pods'] / max(1, runs):.2f} a run, one in "
            f"ten failed); {sum(self.people.asked.values())} requests of people, {self.people.repeated} asked again"
        )
        again = sum(count > 1 for count in witness.runs.values())
        say(
            f"{again} runs were launched again (their first pod had gone before they were seen); {witness.together} times two "
            f"runs of one session lived together, for {witness.longest:.1f} s at most"
        )
        say(f"Replicas were started {sum(one.starts for one in self.replicas)} times. All was well after {took:.0f} s.")

    async def _accuse(self, found: list[Finding]) -> None:
        rows, _ = await self._look()
        table = {row["id"]: row for row in rows}
        for one in found[:SHOWN]:
            say(f"\n{one.kind} {one.session}: {one.words}")
            if one.session in table:
                row = {name: str(value) for name, value in table[one.session].items() if value is not None}
                say("  row: " + ", ".join(f"{name}={value}" for name, value in row.items() if name != "credential"))
            for pod in self.cluster.pods():
                if one.session and pod.session == one.session:
                    say(f"  pod: {pod}")
            for line in _lines(self.folder, one.session)[-LINES:] if one.session else ():
                say(f"  {line}")
        if len(found) > SHOWN:
            say(f"\n... and {len(found) - SHOWN} more.")


def _lines(folder: Path, session: str) -> list[str]:
    """What the replicas' logs say about a session, in order, each with the replica's number."""
    found: list[str] = []
    for log in sorted(folder.glob("replica-*.log")):
        number = log.stem.removeprefix("replica-")
        lines = log.read_text(errors="replace").splitlines()
        found += [f"{line[:23]} [{number}]{line[23:]}" for line in lines if session in line and line[:2] == "20"]
    return sorted(found)
