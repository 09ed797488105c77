"""The faults of a test's own API server: each does what a test that uses it takes it to do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from kube.server import KubeApi

PODS = "/api/v1/namespaces/hub/pods"


def a_pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "a"}], **spec}}


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    async with KubeApi(bookmark_every=3600) as api:
        yield api


@pytest.fixture
async def http(api: KubeApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url) as session:
        yield session


async def next_event(watch: aiohttp.ClientResponse) -> Any:
    """The next line, decoded; None at the end of the stream."""
    async with asyncio.timeout(30):
        line = await watch.content.readline()
    return json.loads(line) if line else None


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, **query: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    async with http.get(PODS, params={"watch": "1", "resourceVersion": "0", **query}) as watch:
        yield watch


async def test_a_status_is_answered_as_often_as_asked_and_nothing_is_done(
    api: KubeApi, http: aiohttp.ClientSession
) -> None:
    fault = api.fault("create", "/pods$", status=429, retry_after=3, times=2)
    for _ in range(2):
        async with http.post(PODS, json=a_pod("one")) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    async with http.get(PODS) as answer:
        assert (await answer.json())["items"] == []
    async with http.post(PODS, json=a_pod("one")) as answer:
        assert answer.status == 201
    assert fault.hits == 2
    assert api.requests == {("create", "pods"): 3, ("list", "pods"): 1}


async def test_an_answer_can_be_lost_after_the_deed(api: KubeApi, http: aiohttp.ClientSession) -> None:
    api.fault("create", done=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(PODS, json=a_pod("one"))
    assert [pod["metadata"]["name"] for pod in api.store.find("pods", "hub")] == ["one"]


async def test_a_connection_can_be_dropped_before_the_deed(api: KubeApi, http: aiohttp.ClientSession) -> None:
    api.fault("create")
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(PODS, json=a_pod("one"))
    assert api.store.find("pods", "hub") == []


async def test_a_request_hangs_until_the_fault_is_lifted(api: KubeApi, http: aiohttp.ClientSession) -> None:
    fault = api.fault("create", hang=True, times=float("inf"))
    asking = asyncio.create_task(http.post(PODS, json=a_pod("one")))
    await fault.hit()
    assert not asking.done()
    fault.lift()
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking
    async with http.post(PODS, json=a_pod("one")) as answer:
        assert answer.status == 201


async def test_a_silent_watch_is_open_and_says_nothing(api: KubeApi, http: aiohttp.ClientSession) -> None:
    async with watching(http, timeoutSeconds="1") as silent:
        api.silence_watches()
        async with watching(http) as other:
            api.store.create("pods", "hub", a_pod("one"))
            assert (await next_event(other))["object"]["metadata"]["name"] == "one"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await silent.content.readline()
            assert api.open_watches == 2


async def test_watches_can_end_break_off_or_talk_nonsense(api: KubeApi, http: aiohttp.ClientSession) -> None:
    async with watching(http) as watch:
        api.garble_watches()
        with pytest.raises(ValueError, match="Invalid control character"):
            await next_event(watch)
        api.close_watches()
        assert await next_event(watch) is None
    async with watching(http) as watch:
        api.drop_watches()
        with pytest.raises(aiohttp.ClientError):
            await next_event(watch)
    await api.until(lambda: api.open_watches == 0)


async def test_watches_expire_and_old_versions_with_them(api: KubeApi, http: aiohttp.ClientSession) -> None:
    version = api.store.create("pods", "hub", a_pod("one"))["metadata"]["resourceVersion"]
    api.store.create("pods", "hub", a_pod("two"))
    async with watching(http, resourceVersion=version) as watch:
        assert (await next_event(watch))["object"]["metadata"]["name"] == "two"
        api.expire_watches()
        event = await next_event(watch)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert await next_event(watch) is None
    async with watching(http, resourceVersion=version) as watch:
        assert (await next_event(watch))["object"]["reason"] == "Expired"


async def test_history_is_as_long_as_it_is_made(http: aiohttp.ClientSession) -> None:
    async with KubeApi(history=3) as short, aiohttp.ClientSession(short.url) as session:
        versions = [short.store.create("pods", "hub", a_pod(name))["metadata"]["resourceVersion"] for name in "abcdef"]
        async with watching(session, resourceVersion=versions[2]) as watch:
            seen = [(await next_event(watch))["object"]["metadata"]["name"] for _ in range(3)]
        assert seen == ["d", "e", "f"]
        async with watching(session, resourceVersion=versions[1]) as watch:
            assert (await next_event(watch))["type"] == "ERROR"


async def test_disorder_loses_nothing_and_repeats_some(api: KubeApi, http: aiohttp.ClientSession) -> None:
    api.disordered = True
    async with watching(http) as watch:
        names = [f"pod-{n:02}" for n in range(20)]
        for name in names:
            api.store.create("pods", "hub", a_pod(name))
        seen: list[str] = []
        while set(seen) != set(names):
            seen.append((await next_event(watch))["object"]["metadata"]["name"])
    assert seen != names


async def test_a_bookmark_comes_when_asked_for_and_only_to_who_allows_it(
    api: KubeApi, http: aiohttp.ClientSession
) -> None:
    async with watching(http, allowWatchBookmarks="true") as allows, watching(http) as does_not:
        api.bookmark_watches()
        event = await next_event(allows)
        assert (event["type"], event["object"]["metadata"]["resourceVersion"]) == ("BOOKMARK", str(api.store.version))
        api.store.create("pods", "hub", a_pod("one"))
        assert (await next_event(does_not))["type"] == "ADDED"


async def test_one_call_in_ten_fails_and_always_the_same_ones() -> None:
    async def outcomes() -> list[Any]:
        async with KubeApi(seed=7) as api, aiohttp.ClientSession(api.url) as http:
            api.failure_rate = 0.1
            seen: list[Any] = []
            for n in range(200):
                try:
                    async with http.post(PODS, json=a_pod(f"pod-{n}")) as answer:
                        seen.append(answer.status)
                except aiohttp.ClientConnectionError:
                    seen.append("lost" if f"pod-{n}" in str(api.store.find("pods", "hub")[-1:]) else "dropped")
            return seen

    first = await outcomes()
    assert 160 <= first.count(201) <= 195
    assert {429, 500, 503, "dropped"} <= set(first)
    assert await outcomes() == first


async def test_it_comes_back_where_it_was_with_what_it_had(api: KubeApi, http: aiohttp.ClientSession) -> None:
    async with http.post(PODS, json=a_pod("one")) as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    async with watching(http) as watch:
        assert await next_event(watch)
        await api.stop()
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            assert await next_event(watch)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.get(PODS)
    await api.start()
    async with http.get(PODS) as answer:
        (pod,) = (await answer.json())["items"]
        assert pod["metadata"]["resourceVersion"] == version


async def test_with_a_role_all_else_is_forbidden() -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "create"]}]
    async with KubeApi(rules=rules) as api, aiohttp.ClientSession(api.url) as http:
        async with http.post(PODS, json=a_pod("one")) as answer:
            assert answer.status == 201
        for ask, cannot in [
            (http.delete(f"{PODS}/one"), 'pods "one" is forbidden: .* cannot delete resource "pods" in API group ""'),
            (http.get(PODS, params={"watch": "1"}), 'pods is forbidden: .* cannot watch .* in the namespace "hub"'),
            (http.get("/api/v1/pods"), "pods is forbidden: .* cannot list .* at the cluster scope"),
            (http.get("/api/v1/namespaces/hub/events"), "events is forbidden"),
        ]:
            async with ask as answer:
                status = await answer.json()
                assert (answer.status, status["reason"]) == (403, "Forbidden")
                assert re.search(cannot, status["message"])
