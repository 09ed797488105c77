"""What the tests on a real cluster share: namespaces as deploy/kubernetes says, the Hub's own account, a look at pods."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import load_kube_config
from playwright.async_api import Browser, Page, Playwright

from app.db.embedded import PrivatePostgres
from app.settings import PROJECT
from e2e.browser import Person, Terminal, follow_link
from e2e.conftest import as_person, chromium, playwright  # noqa: F401  (two of them are fixtures)
from e2e.hub import HubProcess

Object = dict[str, Any]

KUBECONFIG = os.environ.get("HUB_TEST_KUBECONFIG", "")
IMAGE = os.environ.get("HUB_TEST_SESSION_IMAGE", "")
RESTART_API = os.environ.get("HUB_TEST_RESTART_API", "")
DEPLOY = PROJECT / "deploy" / "kubernetes"
PATIENCE = 60.0  # Seconds for the cluster to do what it was asked for.

# `make test` has no cluster: nothing in this folder is its.
collect_ignore_glob = [] if KUBECONFIG else ["test_*.py"]


def pytest_report_header() -> str | None:
    left_out = "" if RESTART_API else "; HUB_TEST_RESTART_API is not set, so its API server stays up"
    return f"tests/cluster uses the cluster of {KUBECONFIG}{left_out}" if KUBECONFIG else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not RESTART_API and item.get_closest_marker("restarts_the_api")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "restarts_the_api: needs HUB_TEST_RESTART_API")
    if KUBECONFIG and not IMAGE:
        raise pytest.UsageError("HUB_TEST_SESSION_IMAGE must name the image of deploy/visidata that the nodes have.")


class Refused(Exception):
    """The cluster answered with an error."""


class Admin:
    """The cluster's administrator: the API as JSON, by path."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._api = ApiClient(configuration)

    async def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Object:
        headers = {"Accept": "application/json", "Content-Type": kind}
        answer = await self._api.call_api(
            path, method, header_params=headers, body=body, auth_settings=["BearerToken"], _preload_content=False
        )
        found: Object = await answer.json()
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {found.get('message')}")
        return found

    async def make(self, manifest: Object) -> Object:
        return await self.call("POST", _collection(manifest), manifest)

    async def pods(self, namespace: str) -> list[Object]:
        found: list[Object] = (await self.call("GET", f"/api/v1/namespaces/{namespace}/pods"))["items"]
        return found

    async def delete_pod(self, namespace: str, name: str, grace: int | None = None) -> None:
        with contextlib.suppress(Refused):
            options = {} if grace is None else {"gracePeriodSeconds": grace}
            await self.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", options)

    async def clear(self, namespace: str) -> None:
        """Delete all pods of the namespace, and wait until they are gone."""
        async with asyncio.timeout(PATIENCE):
            while pods := await self.pods(namespace):
                for pod in pods:
                    await self.delete_pod(namespace, pod["metadata"]["name"], 0)
                await asyncio.sleep(0.2)

    async def has_accounts(self, namespace: str) -> None:
        """Wait for the namespace's own service account, which a controller makes: pods are refused until then."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts"))["items"]:
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        await self._api.close()


def _collection(manifest: Object) -> str:
    """The path of a manifest's kind."""
    version, kind = manifest["apiVersion"], manifest["kind"].lower() + "s"
    kind = "networkpolicies" if kind == "networkpolicys" else kind
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    namespace = manifest["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{kind}" if namespace else f"{root}/{kind}"


class Place:
    """Where sessions run for the tests: `namespace`, and `kubeconfig` of the account that the Hub has there."""

    def __init__(self, admin: Admin, namespace: str, kubeconfig: Path) -> None:
        self.admin, self.namespace, self.kubeconfig = admin, namespace, kubeconfig

    async def pods(self) -> list[Object]:
        return await self.admin.pods(self.namespace)

    async def pod_of(self, session_id: str) -> Object:
        """The one pod of a session."""
        found = [
            pod for pod in await self.pods() if pod["metadata"]["labels"].get("visidata-hub/session") == session_id
        ]
        assert len(found) == 1, [pod["metadata"]["name"] for pod in found]
        return found[0]

    async def clear(self) -> None:
        await self.admin.clear(self.namespace)


@pytest.fixture(scope="session")
async def admin() -> AsyncIterator[Admin]:
    configuration = Configuration()
    await load_kube_config(KUBECONFIG, client_configuration=configuration, persist_config=False)
    admin = Admin(configuration)
    yield admin
    await admin.close()


@pytest.fixture(scope="session")
async def place(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """What deploy/kubernetes gives the Hub and its sessions, in namespaces of its own."""
    mark = secrets.token_hex(3)
    renamed = {"visidata-hub": f"hub-test-{mark}", "visidata-sessions": f"hub-test-{mark}-sessions"}
    made = deployed("namespaces.yaml", "rights.yaml", "limits.yaml", "network.yaml", renamed=renamed)
    for manifest in made:
        await admin.make(manifest)
    try:
        await admin.has_accounts(renamed["visidata-sessions"])
        kubeconfig = tmp_path_factory.mktemp("account") / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(await account(admin, renamed["visidata-hub"], "visidata-hub")))
        yield Place(admin, renamed["visidata-sessions"], kubeconfig)
    finally:
        await admin.clear(renamed["visidata-sessions"])
        for namespace in renamed.values():
            await admin.call("DELETE", f"/api/v1/namespaces/{namespace}")


def deployed(*files: str, renamed: dict[str, str]) -> Iterable[Object]:
    """The manifests of these files, in other namespaces."""
    for file in files:
        for manifest in yaml.safe_load_all((DEPLOY / file).read_text()):
            metadata = manifest["metadata"]
            if manifest["kind"] == "Namespace":
                metadata["name"] = renamed[metadata["name"]]
                metadata["labels"]["kubernetes.io/metadata.name"] = metadata["name"]
            else:
                metadata["namespace"] = renamed[metadata["namespace"]]
            for subject in manifest.get("subjects", ()):
                subject["namespace"] = renamed[subject["namespace"]]
            yield manifest


async def account(admin: Admin, namespace: str, name: str) -> Object:
    """A kubeconfig of a service account, with a token that lasts for hours."""
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 4 * 3600}}
    token = await admin.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", wanted)
    cluster: Object = {"server": admin.configuration.host}
    if admin.configuration.ssl_ca_cert:
        ca = Path(admin.configuration.ssl_ca_cert).read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token["status"]["token"]}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": name, "namespace": namespace}}],
        "current-context": "it",
    }


# A Hub, and somebody who uses it


@dataclass
class Desk:
    """A Hub whose sessions are pods, and its owner, with a browser."""

    hub: HubProcess
    owner: Person
    browser: Browser

    async def create(self, name: str = "Birds", *, state: str = "running") -> str:
        """Make a session on the penguins and wait until it gets there; its id."""
        answer = await self.owner.api.post(
            "/api/v1/sessions", data={"name": name, "source": {"sample": "penguins.csv"}}
        )
        assert answer.status == 201, await answer.text()
        session_id: str = (await answer.json())["id"]
        await self.reaches(session_id, state)
        return session_id

    async def see(self, session_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await (await self.owner.api.get(f"/api/v1/sessions/{session_id}")).json()
        return found

    async def reaches(self, session_id: str, state: str, within: float = PATIENCE) -> dict[str, Any]:
        async with asyncio.timeout(within):
            while (found := await self.see(session_id))["state"] != state:
                path = f"/api/v1/sessions/{session_id}?wait={state}&timeout=5"
                found = await (await self.owner.api.get(path)).json()
                at_rest = found["state"] in ("stopped", "failed")
                assert found["state"] == state or not at_rest, found
        return found

    async def look_at(self, session_id: str) -> tuple[Page, Terminal]:
        """The session's page in a browser of its owner's."""
        page = await (await self.browser.new_context(storage_state=self.owner.state)).new_page()
        await page.goto(f"{self.hub.url}/sessions/{session_id}")
        return page, Terminal(page)


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]
"""`async with open_desk(HUB_...="...") as desk`: a Hub of its own, with these settings."""


@pytest.fixture(scope="session")
async def open_desk(
    place: Place,
    chromium: Browser,  # noqa: F811  (the fixture)
    playwright: Playwright,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenDesk:
    @asynccontextmanager
    async def open_desk(**settings: str) -> AsyncIterator[Desk]:
        of_all = {
            "KUBECONFIG": str(place.kubeconfig),
            "HUB_RUNTIME": "kubernetes",
            "HUB_SECRET_KEY": secrets.token_hex(32),
            "HUB_K8S_NAMESPACE": place.namespace,
            "HUB_K8S_HUB_NAME": f"hub-{secrets.token_hex(3)}",
            "HUB_K8S_IMAGE": IMAGE,
            "HUB_K8S_MEMORY": "256Mi",
        }
        folder = tmp_path_factory.mktemp("hub")
        postgres = PrivatePostgres(folder / "database")
        of_all["HUB_DATABASE_URL"] = await asyncio.to_thread(postgres.start)
        hub = HubProcess(folder, **{**of_all, **settings})
        try:
            await hub.start()
            page = await chromium.new_page()
            added = await hub.command("user", "add", "owner@example.org", "--admin")
            await follow_link(page, added.split("\n\n")[1].strip())
            yield Desk(hub, await as_person(page, hub.url, "owner@example.org", playwright), chromium)
        except BaseException:
            print(hub.log)  # noqa: T201  (pytest shows it with the failure)
            raise
        finally:
            await hub.close()
            await asyncio.to_thread(postgres.stop)
            for context in chromium.contexts:
                await context.close()
            await place.clear()

    return open_desk


@pytest.fixture(scope="module")
async def shared(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    async with open_desk() as desk:
        yield desk


@pytest.fixture
async def desk(shared: Desk) -> AsyncIterator[Desk]:
    """A Hub as it comes, with no sessions."""
    yield shared
    for session in await (await shared.owner.api.get("/api/v1/sessions")).json():
        await shared.owner.api.delete(f"/api/v1/sessions/{session['id']}")
