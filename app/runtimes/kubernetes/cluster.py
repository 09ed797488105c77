"""The Kubernetes API, as far as sessions need it: all of this package's I/O, and the one place that knows the client.

Pods and claims are the API's JSON, in and out. A call that may succeed later is tried again for a while, with backoff and
jitter; a refusal is not. All that goes wrong is raised as RuntimeFailure. Must not know what a run is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import yaml
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from app.aio import backoff
from app.errors import RuntimeFailure, SettingsError
from app.runtimes.base import Reason
from app.runtimes.kubernetes import status

log = logging.getLogger("hub.kubernetes")

Object = dict[str, Any]

CALL_TIME = 8.0  # Seconds for one answer; API servers answer in well under one.
# Seconds for a call with all its repetitions. Less than a lease of the lifecycle manager (30 s), so that no other
# replica works on the same session meanwhile.
PATIENCE = 20.0
# Seconds from the first 403 during which another one is not final: an API server that has just started refuses what
# it allows once its caches are filled.
FORBIDDEN_TIME = 30.0
FORBIDDEN_QUIET = 120.0  # Seconds without a 403 after which the next one counts as the first again.
LIST_TIME = 60.0  # Seconds for one page of a list.
PAGE = 500  # Pods of one page: some megabytes.
CONNECT_TIME = 5.0
WATCH_SLACK = 5.0  # Seconds past its time that a watch may take to end before it counts as broken.


class Answer(NamedTuple):
    """An answer of the API server: what was asked for, or a Status that says why not."""

    status: int
    body: Object
    retry_after: float
    early: bool = False  # A 403 that may pass: see FORBIDDEN_TIME.

    @property
    def fine(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= 500

    def refusal(self) -> RuntimeFailure:
        return status.refusal(self.status, str(self.body.get("message") or ""), retry=self.early)


class Trouble(RuntimeFailure):
    """The API cannot be used just now. `wait` is how many seconds it asked to be left alone for."""

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message, reason=Reason.LOST, retry=True)
        self.wait = wait


class Expired(Exception):
    """The server no longer knows what came after that version: list again."""


class Event(NamedTuple):
    """What a watch tells: ADDED, MODIFIED, DELETED or BOOKMARK, and the object (of a bookmark, its version only)."""

    type: str
    object: Object


class Cluster:
    """One namespace of one cluster, through one client. `call_time`, `patience` and `forbidden_time` are in seconds."""

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        *,
        call_time: float = CALL_TIME,
        patience: float = PATIENCE,
        forbidden_time: float = FORBIDDEN_TIME,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._base = f"/api/v1/namespaces/{namespace}"
        self._call_time = call_time
        self._patience = patience
        self._forbidden_time = forbidden_time
        self._forbidden: dict[
            tuple[str, str], tuple[float, float]
        ] = {}  # By verb and kind: the first 403 and the last.

    @classmethod
    async def connect(cls, namespace: str, kubeconfig: Path | None = None, **times: float) -> Cluster:
        """With the pod's own account where this runs in a cluster, else by `kubeconfig` or the usual one.

        Opens no connection. Raises SettingsError where neither can be used.
        """
        configuration = Configuration()
        try:
            if kubeconfig is not None or not _in_cluster(configuration):
                file = str(kubeconfig) if kubeconfig else None
                await load_kube_config(file, client_configuration=configuration, persist_config=False)
            api = ApiClient(configuration)
            api.user_agent = "visidata-hub"
            return cls(api, namespace, **times)
        except (ConfigException, OSError, ValueError, yaml.YAMLError) as error:
            raise SettingsError(
                f"HUB_RUNTIME=kubernetes, but no cluster is to be found: {error}. Run the Hub in the cluster, or set KUBECONFIG."
            ) from error

    @property
    def host(self) -> tuple[str, int] | None:
        """Name and port of the API server."""
        parts = urlsplit(str(self._api.configuration.host))
        return (parts.hostname, parts.port or 443) if parts.hostname else None

    async def close(self) -> None:
        await self._api.close()

    # Pods

    async def create_pod(self, manifest: Mapping[str, Any]) -> Object:
        """The pod of this name: the one that was made, or one that was there already."""
        return await self._create("pods", manifest)

    async def get_pod(self, name: str) -> Object | None:
        return await self._get("pods", name)

    async def label_pod(self, name: str, uid: str, version: str, labels: Mapping[str, str]) -> Object | None:
        """Set labels of this very pod if it is still at that version.

        Gives the pod of the name as it is then, whether that has worked or not; None where there is none.
        """
        body = {"metadata": {"uid": uid, "resourceVersion": version, "labels": dict(labels)}}
        # After an answer that was lost, the labels may be there, and then the version is another.
        answer = await self._call("PATCH", f"pods/{name}", body=body, instead=f"pods/{name}")
        if answer.status == HTTPStatus.CONFLICT:
            return await self._get("pods", name)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.fine:
            raise answer.refusal()
        return answer.body

    async def delete_pod(
        self, name: str, uid: str, grace: int | None = None, *, version: str | None = None
    ) -> Object | None:
        """Ask for the end of this very pod, at that version where one is given.

        Gives it as it is now, or None where it is gone; another, and one at another version, stays.
        """
        return await self._delete("pods", name, uid, grace, version)

    async def list_pods(self, selector: str) -> tuple[list[Object], str]:
        """All pods, and the version that the list was read at. Raises Expired where it took too long to read."""
        pods: list[Object] = []
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            answer = await self._call("GET", "pods", query=query, call_time=LIST_TIME)
            if answer.status == HTTPStatus.GONE:
                raise Expired
            if not answer.fine:
                raise answer.refusal()
            pods += answer.body["items"]
            metadata = answer.body["metadata"]
            if not metadata.get("continue"):
                return pods, metadata["resourceVersion"]
            query["continue"] = metadata["continue"]

    async def all_pods(self, selector: str) -> list[Object]:
        """All pods, for who does not go on from there."""
        try:
            pods, _ = await self.list_pods(selector)
        except Expired as error:
            raise Trouble("The list of pods took too long to read.") from error
        return pods

    async def watch_pods(self, selector: str, version: str, seconds: float) -> AsyncIterator[Event | None]:
        """What happens after `version`; ends by itself after `seconds`. The first is None: it has begun.

        Raises Expired, and Trouble where it breaks, where it says what is no event, or where it does not end in time.
        """
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        limit = aiohttp.ClientTimeout(total=seconds + WATCH_SLACK, sock_connect=CONNECT_TIME)
        try:
            response = await self._request("GET", "pods", query, None, limit)
            try:
                if response.status != HTTPStatus.OK:
                    _raise_for(await _answer(response))
                yield None
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield _event(line)
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ConfigException, ValueError) as error:
            raise Trouble(f"The watch broke: {type(error).__name__}: {error}") from error

    # Claims

    async def create_claim(self, manifest: Mapping[str, Any]) -> Object:
        return await self._create("persistentvolumeclaims", manifest)

    async def get_claim(self, name: str) -> Object | None:
        return await self._get("persistentvolumeclaims", name)

    async def delete_claim(self, name: str, uid: str) -> None:
        await self._delete("persistentvolumeclaims", name, uid, None)

    # What may be done here

    async def version(self) -> str:
        answer = await self._call("GET", "/version")
        if not answer.fine:
            raise answer.refusal()
        return str(answer.body.get("gitVersion") or "a version that it does not tell")

    async def may(self, verb: str, kind: str) -> bool:
        """Whether the Hub's own account may do this in the namespace."""
        attributes = {"namespace": self._namespace, "verb": verb, "resource": kind}
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        if not answer.fine:
            raise answer.refusal()
        return bool((answer.body.get("status") or {}).get("allowed"))

    async def refused(self, manifest: Mapping[str, Any]) -> RuntimeFailure | None:
        """Why this pod would be refused, if it would be. Nothing is made."""
        answer = await self._call("POST", "pods", query={"dryRun": "All"}, body=manifest)
        return None if answer.fine else answer.refusal()

    # What they have in common

    async def _create(self, kind: str, manifest: Mapping[str, Any]) -> Object:
        name = manifest["metadata"]["name"]
        # After an answer that was lost, it is looked for first: a second try would meet the quota that the first fills.
        answer = await self._call("POST", kind, body=manifest, instead=f"{kind}/{name}")
        if answer.status in (HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN):
            # A full quota is met before a name that is taken: what it refuses may be there already.
            there = await self._get(kind, name)
            if there is not None:
                return there
            if answer.status == HTTPStatus.CONFLICT:
                raise Trouble(f"{name} was there, and was gone at once.")
        if not answer.fine:
            raise answer.refusal()
        return answer.body

    async def _get(self, kind: str, name: str) -> Object | None:
        answer = await self._call("GET", f"{kind}/{name}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.fine:
            raise answer.refusal()
        return answer.body

    async def _delete(
        self, kind: str, name: str, uid: str, grace: int | None, version: str | None = None
    ) -> Object | None:
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        answer = await self._call("DELETE", f"{kind}/{name}", body=options)
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            return None  # It is gone, or is not the one that is meant.
        if not answer.fine:
            raise answer.refusal()
        return answer.body if answer.body.get("kind") != "Status" else None

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        instead: str | None = None,
        call_time: float | None = None,
    ) -> Answer:
        """One call, again as long as that may help. Where it may have been carried out, `instead` is asked for first.

        Raises Trouble when patience is at its end.
        """
        delays = backoff(0.2, 5.0)
        call_time = call_time or self._call_time
        clock = asyncio.get_running_loop()
        deadline = clock.time() + max(self._patience, call_time)
        unsure = False
        while True:
            wait = next(delays)
            try:
                async with asyncio.timeout_at(deadline):
                    if unsure and instead is not None:
                        found = await self._ask("GET", instead, None, None, call_time)
                        if found.fine:
                            return found
                    answer = await self._ask(method, path, query, body, call_time)
                if not answer.may_pass:
                    return self._judged(method, path, answer)
                unsure = unsure or answer.status != HTTPStatus.TOO_MANY_REQUESTS
                wait = max(wait, answer.retry_after)
                words = f"{answer.status} {answer.body.get('message') or ''}"
            except (aiohttp.ClientError, OSError, TimeoutError, ConfigException, ValueError) as error:
                unsure = True
                words = f"{type(error).__name__}: {error}"
            if clock.time() + wait > deadline:
                log.warning("%s %s: %s", method, path, words)
                raise Trouble("The cluster does not answer just now.", wait=wait)
            log.info("%s %s: %s; trying again in %.1f s", method, path, words, wait)
            await asyncio.sleep(wait)

    def _judged(self, method: str, path: str, answer: Answer) -> Answer:
        """The answer, with a 403 marked that may be gone soon."""
        what = method, path.partition("/")[0]
        if answer.fine:
            self._forbidden.pop(what, None)
        if answer.status != HTTPStatus.FORBIDDEN or status.is_verdict(str(answer.body.get("message") or "")):
            return answer
        now = asyncio.get_running_loop().time()
        first, last = self._forbidden.get(what, (now, now))
        if now - last > FORBIDDEN_QUIET:
            first = now
        self._forbidden[what] = first, now
        return answer._replace(early=now - first < self._forbidden_time)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        call_time: float,
    ) -> Answer:
        limit = aiohttp.ClientTimeout(total=call_time, sock_connect=CONNECT_TIME)
        response = await self._request(method, path, query, body, limit)
        try:
            return await _answer(response)
        finally:
            response.release()

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        # The client's models are passed by: they cost milliseconds a pod, and we need a dozen of its fields.
        response: aiohttp.ClientResponse = await self._api.call_api(
            path if path.startswith("/") else f"{self._base}/{path}",
            method,
            query_params=list((query or {}).items()),
            header_params={
                "Accept": "application/json",
                "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
            },
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limit,
        )
        return response


def _in_cluster(configuration: Configuration) -> bool:
    """Take over the account that a pod of the cluster has; False where this is no such pod."""
    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException:
        return False
    return True


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    """Read an answer whole. Raises ValueError for a fine one that is no JSON."""
    raw = await response.read()
    after = response.headers.get("Retry-After", "")
    try:
        body = json.loads(raw)
    except ValueError:
        if 200 <= response.status < 300:
            raise
        body = {"message": raw.decode(errors="replace")}  # Proxies answer as they like.
    if not isinstance(body, dict):
        raise ValueError(f"no object in the answer, but {type(body).__name__}")
    return Answer(response.status, body, float(after) if after.isdecimal() else 0.0)


def _raise_for(answer: Answer) -> None:
    if answer.status == HTTPStatus.GONE:
        raise Expired
    if answer.may_pass or answer.fine:
        raise Trouble(f"{answer.status} {answer.body.get('message') or ''}", wait=answer.retry_after)
    raise answer.refusal()


def _event(line: bytes) -> Event:
    """One line of a watch. Raises ValueError for what is none, Expired and Trouble for a Status in its place."""
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(found := event.get("object"), dict):
        raise ValueError("a line that is no event")
    if event.get("type") == "ERROR":
        _raise_for(Answer(int(found.get("code") or 500), found, 0.0))
    if not (found.get("metadata") or {}).get("resourceVersion"):
        raise ValueError("an object without a version")
    return Event(str(event.get("type")), found)
