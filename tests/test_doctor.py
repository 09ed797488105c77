"""`hub doctor` finds what keeps the Hub from working, and says what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from kube.server import KubeApi

from app.accounts.models import Account
from app.accounts.service import Accounts
from app.doctor import findings
from app.errors import Unavailable
from app.runtimes.base import RunId, RunSpec
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.checkup import RIGHTS
from app.settings import Settings

MakeSettings = Callable[..., Settings]


@pytest.fixture
def in_cluster(
    make_settings: MakeSettings,
) -> Callable[..., tuple[KubeApi, Settings]]:
    """An API server, and settings for it."""

    def make(rules: list[dict[str, Any]] | None = None, **changed: Any) -> tuple[KubeApi, Settings]:
        api = KubeApi("hub", rules=rules)
        settings = make_settings(runtime="kubernetes", secret_key="s" * 40, k8s_namespace="hub", **changed)
        return api, settings

    return make


async def told(
    settings: Settings, people: Sequence[Account] = (), kubeconfig: Path | None = None
) -> dict[str, tuple[str, str]]:
    async def ask() -> Sequence[Account]:
        return people

    found = findings(settings, ask, installation, kubeconfig, patience=0.1)
    return {what: (mark, words) async for mark, what, words in found}


async def installation() -> str:
    return "a1"


async def told_of(api: KubeApi, settings: Settings, tmp_path: Path) -> dict[str, tuple[str, str]]:
    async with api:
        return await told(settings, kubeconfig=api.write_kubeconfig(tmp_path / "kubeconfig"))


def role(without: tuple[str, str] | None = None) -> list[dict[str, Any]]:
    return [
        {"apiGroups": [""], "resources": [kind], "verbs": [verb for verb in verbs if (kind, verb) != without]}
        for kind, verbs in RIGHTS.items()
    ]


async def test_on_one_machine_all_that_sessions_need_is_looked_for(make_settings: MakeSettings) -> None:
    found = await told(make_settings())
    assert {"Python", "settings", "data folder", "Postgres", "VisiData", "GoTTY", "sandbox"} <= found.keys()
    assert "BAD" not in {mark for mark, _ in found.values()}
    assert found["administrator"][0] == "note", "nobody is one yet"
    assert "hub serve" in found["administrator"][1]
    assert found["mail"][1] == "printed where the Hub runs"
    missing = await told(make_settings(session_python=Path("/nowhere/python"), gotty="/nowhere/gotty"))
    assert missing["VisiData"][0] == missing["GoTTY"][0] == "BAD"
    assert "HUB_SESSION_PYTHON" in missing["VisiData"][1]


async def test_a_database_that_does_not_answer_is_told_and_the_rest_is_still_looked_at(
    make_settings: MakeSettings,
) -> None:
    async def nobody_there() -> Sequence[Account]:
        raise Unavailable("The database does not answer.")

    found = {what: (mark, words) async for mark, what, words in findings(make_settings(), nobody_there, installation)}
    assert found["Postgres"] == ("BAD", "The database does not answer.")
    assert found["VisiData"][0] == "ok"


async def test_administrators_are_found(make_settings: MakeSettings, accounts: Accounts) -> None:
    await accounts.add("ada@example.org", admin=True)
    assert "administrator" not in await told(make_settings(), await accounts.list())


async def test_with_a_cluster_its_account_and_its_rules_are_looked_at_and_not_this_machine(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path
) -> None:
    api, settings = in_cluster(role())
    found = await told_of(api, settings, tmp_path)
    assert {found[what][0] for what in ("Kubernetes", "the Hub's account", "namespace", "a session's pod")} == {"ok"}
    assert "sandbox" not in found
    assert api.store.find("pods", "hub") == [], "a session's pod is only tried"
    assert "hub serve" not in found["administrator"][1], "its prints are a log"
    assert "HUB_SMTP_URL" in found["mail"][1]


@pytest.mark.parametrize(("kind", "verb"), [(kind, verb) for kind, verbs in RIGHTS.items() for verb in verbs])
async def test_a_right_that_is_missing_is_named(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path, kind: str, verb: str
) -> None:
    api, settings = in_cluster(role(without=(kind, verb)), k8s_home="pvc")
    mark, words = (await told_of(api, settings, tmp_path))["the Hub's account"]
    assert (mark, f"{verb} {kind}" in words) == ("BAD", True)


async def test_pods_of_another_database_are_told_since_this_one_may_be_wrong(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path
) -> None:
    api, settings = in_cluster()
    for number, made_by in enumerate(["a1", "b2"]):
        spec = RunSpec(RunId(f"session{number}", 1), "ada", "hub:secret")
        api.store.create("pods", "hub", manifests.pod(spec, settings, installation=made_by))
    found = await told_of(api, settings, tmp_path)
    assert found["namespace"] == ("ok", "hub: 1 pods of this Hub")
    mark, words = found["database"]
    assert (mark, "HUB_DATABASE_URL" in words) == ("BAD", True)


async def test_a_session_that_would_be_refused_is_told_in_the_clusters_words(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path
) -> None:
    api, settings = in_cluster()
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"limits.memory": "100Mi"}}}
    api.store.create("resourcequotas", "hub", quota)
    mark, words = (await told_of(api, settings, tmp_path))["a session's pod"]
    assert (mark, "exceeded quota" in words) == ("BAD", True)


async def test_a_cluster_that_does_not_answer_or_is_not_there_is_told(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path
) -> None:
    api, settings = in_cluster()
    async with api:
        kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
    mark, words = (await told(settings, kubeconfig=kubeconfig))["Kubernetes"]
    assert (mark, "KUBECONFIG" in words) == ("BAD", True)
    kubeconfig.unlink()
    mark, words = (await told(settings, kubeconfig=kubeconfig))["Kubernetes"]
    assert (mark, "KUBECONFIG" in words) == ("BAD", True)


async def test_a_template_that_cannot_be_used_is_told_with_its_field(
    in_cluster: Callable[..., tuple[KubeApi, Settings]], tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec:\n  hostNetwork: true\n")
    _, settings = in_cluster(k8s_template=template)
    mark, words = (await told(settings))["Kubernetes"]
    assert (mark, "hostNetwork" in words) == ("BAD", True)
