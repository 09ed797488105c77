"""The API server over HTTP, and the faults that a test can switch on.

Serves core/v1 on 127.0.0.1, with no encryption: create, get, list, watch, patch, update, delete and the status
subresource. What it must not do is be kinder than a real one: what is refused there is refused here, in the same words.

A fault is given a verb and a path to match, and how often; it counts and can be waited for. Note that aiohttp's client
by itself repeats a GET or DELETE once when a connection that was kept open is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from kube.shapes import KINDS, ApiError, Object
from kube.store import Change, Store, Watch, shown

BOOKMARK_EVERY = 60.0  # Seconds; also sent 2 s before a watch's time is up (apiserver's cacher).
LONGEST_WATCH = 3600  # Seconds of a watch that gives no timeoutSeconds; real servers take 30 to 60 minutes.
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
PATH = re.compile(
    r"/api/v1(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
FAILURES = ("429", "500", "503", "drop", "lose")  # What `failure_rate` chooses from.


class Call(NamedTuple):
    """A request, understood. Verbs are those of RBAC: get, list, watch, create, update, patch, delete."""

    verb: str
    resource: str
    namespace: str | None
    name: str
    sub: str


@dataclass(eq=False)
class Fault:
    """What happens to requests of this verb ("" for any) whose path matches.

    `status` answers with it; else `hang` keeps silent until the fault is lifted or the client goes; else the
    connection is dropped. With `done`, the request is carried out first, and it is its answer that is lost.
    """

    verb: str = ""
    path: str = ""
    times: float = 1  # How many requests; float("inf") until it is lifted.
    status: int | None = None
    retry_after: int | None = None
    hang: bool = False
    done: bool = False
    hits: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, verb: str, path: str) -> bool:
        if self._lifted.is_set() or self.hits >= self.times or self.verb not in ("", verb):
            return False
        return re.search(self.path, path) is not None

    def count(self) -> None:
        self.hits += 1
        self._hit.set()

    async def hit(self) -> None:
        """Returns once a request has met it."""
        await self._hit.wait()

    def lift(self) -> None:
        """No request meets it any more; those that hang are dropped."""
        self._lifted.set()

    async def lifted(self) -> None:
        await self._lifted.wait()


@dataclass(eq=False)
class _Stream:
    """An open watch, and what a test wants done to it."""

    request: web.Request
    silent: bool = False
    raw: list[bytes] = field(default_factory=list)  # To be written as it is.
    bookmarks: int = 0  # To be sent now.
    ending: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class KubeApi:
    """An API server, from `start` to `stop`; what it stores outlives a stop, and it comes back at the same address.

    `rules` are those of an RBAC Role in `namespace`: with them, all else is 403. `store` is its etcd, for the node and
    for a test to look at.
    """

    def __init__(
        self,
        namespace: str = "hub",
        *,
        rules: Iterable[Object] | None = None,
        history: int = 100_000,
        bookmark_every: float = BOOKMARK_EVERY,
        seed: int = 0,
    ) -> None:
        self.namespace = namespace
        self.store = Store(namespace, history=history)
        self.requests: Counter[tuple[str, str]] = Counter()
        """Requests by (verb, resource), those that met a fault included."""
        self.failure_rate = 0.0
        """The part of requests that fail, in one of several ways; from one seed always the same ones."""
        self.disordered = False
        """Whether watches send what happens within 50 ms in any order, and some of it twice."""
        self._rules = None if rules is None else list(rules)
        self._bookmark_every = bookmark_every
        self._dice = random.Random(seed)
        self._faults: list[Fault] = []
        self._streams: set[_Stream] = set()
        self._awaited: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.store.on_change.append(self._look)

    # Life

    async def start(self) -> None:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away, and all connections with it."""
        self.close_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> KubeApi:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "hub", "user": {"token": "a-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "hub", "namespace": self.namespace}}],
            "current-context": "test",
        }

    def write_kubeconfig(self, path: Path) -> Path:
        path.write_text(json.dumps(self.kubeconfig()))  # JSON is YAML.
        return path

    # What a test can wait for

    async def until(self, true: Callable[[], object]) -> None:
        """Returns once this is true; it is asked after each request, each write, and as watches come and go."""
        if not true():
            came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.append((true, came))
            await came

    def _look(self) -> None:
        for entry in self._awaited[:]:
            true, came = entry
            if came.done() or true():
                self._awaited.remove(entry)
                if not came.done():
                    came.set_result(None)

    @property
    def open_watches(self) -> int:
        return len(self._streams)

    # Faults

    def fault(
        self,
        verb: str = "",
        path: str = "",
        *,
        times: float = 1,
        status: int | None = None,
        retry_after: int | None = None,
        hang: bool = False,
        done: bool = False,
    ) -> Fault:
        """Switch on a fault; see `Fault`. `path` is a regular expression, found anywhere in the URL's path."""
        self._faults.append(Fault(verb, path, times, status, retry_after, hang, done))
        return self._faults[-1]

    def lift_faults(self) -> None:
        for fault in self._faults:
            fault.lift()
        self._faults.clear()
        self.failure_rate = 0.0
        self.disordered = False

    def close_watches(self) -> None:
        """End all watches in order, as when their time is up."""
        for stream in self._streams:
            stream.ending = True
            stream.woken.set()

    def drop_watches(self) -> None:
        """Cut all watches' connections, in the middle of a line."""
        for stream in self._streams:
            if stream.request.transport is not None:
                stream.request.transport.abort()

    def silence_watches(self) -> None:
        """The watches that are open stay so, and nothing comes out of them any more, not even their end."""
        for stream in self._streams:
            stream.silent = True

    def garble_watches(self, line: bytes = b'{"type":"MODIFIED","object":{"kind":"Po\n') -> None:
        """A line that is no JSON, in all watches."""
        for stream in self._streams:
            stream.raw.append(line)
            stream.woken.set()

    def bookmark_watches(self) -> None:
        """A bookmark now, in all watches that allow them."""
        for stream in self._streams:
            stream.bookmarks += 1
            stream.woken.set()

    def expire_watches(self) -> None:
        """History is compacted, and all watches end with 410 in their stream."""
        self.store.compact()
        gone = ApiError(410, f"too old resource version: 1 ({self.store.version})")
        for stream in self._streams:
            stream.ending = True
            stream.raw.append(_line("ERROR", gone.status))
            stream.woken.set()

    async def _suffer(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.status is not None:
            return _refusal(fault.status, fault.retry_after)
        if fault.hang:
            await fault.lifted()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _fault(self, call: Call, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.takes(call.verb, path):
                return fault
        if self._dice.random() >= self.failure_rate:
            return None
        kind = self._dice.choice(FAILURES)
        if kind.isdecimal():
            return Fault(status=int(kind), retry_after=1 if kind == "429" else None)
        return Fault(done=kind == "lose" and call.verb != "watch")

    # Requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if request.path == REVIEWS:
            return await self._review(request)
        try:
            call = self._understood(request)
            self.requests[call.verb, call.resource] += 1
            fault = self._fault(call, request.path)
            try:
                if fault is not None:
                    fault.count()
                    if not fault.done:
                        return await self._suffer(fault, request)
                answer = await self._answer(call, request)
                return answer if fault is None else await self._suffer(fault, request)
            finally:
                self._look()
        except ApiError as refused:
            return web.json_response(refused.status, status=refused.code)

    def _understood(self, request: web.Request) -> Call:
        found = PATH.fullmatch(request.path)
        if found is None or found["resource"] not in KINDS or found["sub"] not in (None, "status"):
            raise ApiError(404, "the server could not find the requested resource")
        verb = VERBS.get(request.method, "")
        if verb == "get" and not found["name"]:
            verb = "watch" if request.query.get("watch") in ("1", "true", "True") else "list"
        alone = verb in ("get", "update", "patch", "delete")
        placed = bool(found["namespace"]) != (found["resource"] == "namespaces")
        if not verb or alone != bool(found["name"]) or not (placed or verb in ("list", "watch")):
            raise ApiError(405, "the server does not allow this method on the requested resource")
        call = Call(verb, found["resource"], found["namespace"], found["name"] or "", found["sub"] or "")
        if self._rules is not None:
            self._authorize(call)
        return call

    async def _review(self, request: web.Request) -> web.Response:
        """Whether who asks may do something: everybody may ask that."""
        body = await request.json()
        asked = body["spec"]["resourceAttributes"]
        try:
            if self._rules is not None:
                self._authorize(Call(asked["verb"], asked["resource"], asked.get("namespace"), "", ""))
            allowed = True
        except ApiError:
            allowed = False
        return web.json_response({**body, "status": {"allowed": allowed}}, status=201)

    def _authorize(self, call: Call) -> None:
        resource = f"{call.resource}/{call.sub}" if call.sub else call.resource
        for rule in self._rules or ():
            names = rule.get("resourceNames")
            if (
                call.namespace == self.namespace
                and {"", "*"} & set(rule["apiGroups"])
                and {resource, "*"} & set(rule["resources"])
                and {call.verb, "*"} & set(rule["verbs"])
                and (not names or call.name in names)
            ):
                return
        what = f'{call.resource} "{call.name}" is' if call.name else f"{call.resource} is"
        where = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
        who = f'User "system:serviceaccount:{self.namespace}:hub" cannot {call.verb} resource "{resource}"'
        message = f'{what} forbidden: {who} in API group "" {where}'
        raise ApiError(403, message, kind=call.resource, **({"name": call.name} if call.name else {}))

    async def _answer(self, call: Call, request: web.Request) -> web.StreamResponse:
        verb, resource, namespace, name, sub = call
        query = request.query
        if verb == "watch":
            return await self._watch(call, request)
        if verb == "list":
            objects = self.store.find(
                resource, namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
            )
            version, part, token = self.store.page(objects, int(query.get("limit") or 0), query.get("continue", ""))
            metadata = {"resourceVersion": str(version), **({"continue": token} if token else {})}
            kind = f"{KINDS[resource]}List"
            return web.json_response({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": part})
        if verb == "get":
            return web.json_response(shown(resource, self.store.get(resource, namespace, name)))
        body = await _body(request)
        status = 200
        match verb:
            case "create":
                dry = query.get("dryRun") == "All"
                obj, status = self.store.create(resource, namespace, body, dry=dry), 201
            case "update":
                obj = self.store.replace(resource, namespace, name, body, sub)
            case "patch":
                obj = self.store.patch(resource, namespace, name, body, request.content_type, sub)
            case _:
                if "gracePeriodSeconds" in query:
                    body = {**body, "gracePeriodSeconds": int(query["gracePeriodSeconds"])}
                obj = self.store.delete(resource, namespace, name, body)
        return web.json_response(shown(resource, obj), status=status)

    # Watches

    async def _watch(self, call: Call, request: web.Request) -> web.StreamResponse:
        query = request.query
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true", "True")
        seconds = float(query.get("timeoutSeconds") or LONGEST_WATCH)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        bookmark_at = min(loop.time() + self._bookmark_every, ends_at - 2) if bookmarks else ends_at
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        since, selectors = (
            query.get("resourceVersion") or "0",
            (query.get("labelSelector", ""), query.get("fieldSelector", "")),
        )
        try:
            watch = self.store.watch(call.resource, call.namespace, *selectors, since=int(since))
        except ValueError:
            raise ApiError(400, f'Invalid value: "{since}": strconv.ParseUint: parsing "{since}"') from None
        except ApiError as refused:
            if refused.code != 410:
                raise
            # A version that is too old is told in the stream, not by the status (apiserver, cacher.Watch).
            await response.prepare(request)
            await response.write(_line("ERROR", refused.status))
            return response
        stream = _Stream(request)
        self._streams.add(stream)
        try:
            await response.prepare(request)
            self._look()
            while not stream.ending and loop.time() < ends_at:
                await _first(watch, stream, min(ends_at, bookmark_at) - loop.time())
                if self.disordered:
                    await asyncio.sleep(0.05)
                out = self._lines(watch.taken())
                out += stream.raw
                if bookmarks and (stream.bookmarks or loop.time() >= bookmark_at):
                    out.append(_bookmark(call.resource, self.store.version))
                    bookmark_at = min(loop.time() + self._bookmark_every, ends_at)
                stream.raw.clear()
                stream.bookmarks = 0
                if stream.silent:
                    await asyncio.Event().wait()  # Until the client goes, or the server does.
                if out:
                    await response.write(b"".join(out))
            return response
        finally:
            watch.close()
            self._streams.discard(stream)
            self._look()

    def _lines(self, changes: list[tuple[str, Change]]) -> list[bytes]:
        lines = [b'{"type":"%s","object":%s}\n' % (kind.encode(), change.json) for kind, change in changes]
        if self.disordered and lines:
            lines += self._dice.sample(lines, self._dice.randint(0, len(lines)))
            self._dice.shuffle(lines)
        return lines


async def _first(watch: Watch, stream: _Stream, seconds: float) -> None:
    """Returns when something has come from the store or from the test, or time is up."""
    stream.woken.clear()
    if stream.ending or stream.raw or stream.bookmarks:
        return
    waits = [asyncio.ensure_future(watch.wait()), asyncio.ensure_future(stream.woken.wait())]
    try:
        await asyncio.wait(waits, timeout=max(0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _body(request: web.Request) -> Any:
    text = await request.text()
    if not text:
        return {}
    with contextlib.suppress(ValueError):
        body = json.loads(text)
        if isinstance(body, dict) or request.method == "PATCH":
            return body
    raise ApiError(400, "the object provided is unrecognized (must be of type object): couldn't get version/kind")


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def _bookmark(resource: str, version: int) -> bytes:
    obj: Object = {"metadata": {"resourceVersion": str(version), "creationTimestamp": None}}
    if resource == "pods":
        obj |= {"spec": {"containers": None}, "status": {}}
    return _line("BOOKMARK", shown(resource, obj))


def _refusal(status: int, retry_after: int | None) -> web.Response:
    """A failure of the server itself, in the words that each comes with."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status == 429:  # Comes from before the API machinery, as plain text (apiserver, filters/maxinflight).
        return web.Response(status=429, text="Too many requests, please try again later.\n", headers=headers)
    message = {
        409: 'Operation cannot be fulfilled on resourcequotas "quota": the object has been modified; please apply your '
        "changes to the latest version and try again",
        410: "The resourceVersion for the provided list is too old.",
        500: "Internal error occurred: etcdserver: leader changed",
        503: "the server is currently unable to handle the request",
        504: "Timeout: request did not complete within the allotted timeout",
    }.get(status, "refused")
    details: Object = {} if retry_after is None else {"retryAfterSeconds": retry_after}
    return web.json_response(ApiError(status, message, **details).status, status=status, headers=headers)
