"""A run that was kept warm, from the click to the screen: a served Hub, a cluster of our own, VisiData in real processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from kube.node import Image, Node
from kube.server import KubeApi
from serving import FAST, PASSWORD, Browser
from test_kubernetes import session_image

from app.factory import create_app
from app.runtimes.base import Source
from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.settings import Settings
from app.web.context import Hub


async def test_its_first_viewer_sees_what_the_session_was_made_for(
    make_settings: Callable[..., Settings], database: object, tmp_path: Path
) -> None:
    settings = make_settings(k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32, warm_runs=1)
    images: dict[str, Image] = {settings.k8s_image: session_image(tmp_path, settings)}
    async with KubeApi("hub") as api, Node(api.store, tmp_path / "node", images=images):
        cluster = await Cluster.connect("hub", api.write_kubeconfig(tmp_path / "kubeconfig"))
        app = create_app(settings, runtime=KubernetesRuntime(settings, cluster), hasher=FAST)
        async with app.test_app():
            hub: Hub = app.extensions["hub"]
            ada = await hub.accounts.add("ada@example.org", password=PASSWORD)
            browser = await Browser(app).log_in(ada)

            def kept() -> list[str]:
                pods = api.store.find("pods", "hub")
                ready = [
                    pod
                    for pod in pods
                    if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
                ]
                return [
                    pod["metadata"]["uid"] for pod in ready if names.pool_of(pod, names.Owner(settings.k8s_hub_name))
                ]

            async with asyncio.timeout(30):
                await api.until(kept)
                (uid,) = kept()
                session = await hub.sessions.create(ada.id, guest=False, name="one", source=Source("sample", "x y.csv"))
                while (live := await hub.sessions.get(ada.id, session.id)).state != "running":
                    await asyncio.sleep(0.01)
                assert live.run_uid == uid, "it is the one that was kept"
                async with browser.terminal(session.id) as page:
                    await page.send(json.dumps({"type": "resize", "cols": 80, "rows": 24}))
                    screen = b""
                    while b"/samples/x y.csv" not in screen:  # It is not on this machine, and VisiData says so.
                        message = await page.receive()
                        screen += message if isinstance(message, bytes) else b""
