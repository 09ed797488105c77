"""What deploy/kubernetes gives a cluster: that every Kubernetes takes it, and that it agrees with what the Hub does."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kube.shapes import quantity
from kubernetes_validate.utils import all_versions

from app.runtimes.base import RunId, RunSpec
from app.runtimes.kubernetes import manifests
from app.settings import PROJECT, Settings

FOLDER = PROJECT / "deploy" / "kubernetes"
Object = dict[str, Any]


def documents() -> Iterator[Object]:
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def the(kind: str, name: str = "", namespace: str = "") -> Object:
    found = [
        one
        for one in documents()
        if one["kind"] == kind
        and name in ("", one["metadata"]["name"])
        and namespace in ("", one["metadata"].get("namespace"))
    ]
    assert len(found) == 1, (kind, name, len(found))
    return found[0]


def settings() -> Settings:
    """The Hub's, as its pods have them."""
    secret = {"HUB_SECRET_KEY": "x" * 32, "HUB_DATABASE_URL": "postgres://hub@db/hub"}
    return Settings.from_env({**the("ConfigMap")["data"], **secret, "HUB_RUNTIME": "kubernetes"})


def a_session() -> Object:
    return manifests.pod(RunSpec(RunId("srrmx3qydgjz", 1), "ada", "hub:secret"), settings())


def is_selected(selector: Object, labels: Object) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def namespace_of(kind: str, name: str) -> Object:
    return the("Namespace", the(kind, name)["metadata"]["namespace"])


@pytest.mark.parametrize("version", all_versions()[::4])
def test_every_kubernetes_takes_it(version: str) -> None:
    for document in documents():
        assert kubernetes_validate.validate(document, version, strict=True)


def test_nothing_that_is_there_is_left_out() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(file.name for file in FOLDER.iterdir())


def test_the_hub_may_do_what_it_does_and_nothing_else() -> None:
    kinds = {document["kind"] for document in documents()}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    role = the("Role")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    # `make test-cluster` runs everything under this very account, so none of it can be left out.
    assert allowed == {
        *(("pods", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
        *(("persistentvolumeclaims", verb) for verb in ("create", "get", "delete")),
    }
    assert all(rule["apiGroups"] == [""] and "resourceNames" not in rule for rule in role["rules"])


def test_the_rights_are_the_hubs_where_the_sessions_are() -> None:
    role, binding, account, hub = the("Role"), the("RoleBinding"), the("ServiceAccount"), the("Deployment")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == settings().k8s_namespace
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    assert hub["metadata"]["namespace"] == namespace
    assert hub["spec"]["template"]["spec"]["serviceAccountName"] == name


def test_the_hubs_secrets_are_not_where_sessions_are() -> None:
    """Whoever may make pods in a namespace can read its secrets by way of them."""
    assert the("Deployment")["metadata"]["namespace"] != settings().k8s_namespace


def test_only_the_hub_reaches_a_session_and_only_its_terminal() -> None:
    policy, session, hub = the("NetworkPolicy", "sessions"), a_session(), the("Deployment")
    assert policy["metadata"]["namespace"] == session["metadata"]["namespace"]
    assert is_selected(policy["spec"]["podSelector"], session["metadata"]["labels"])
    assert sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert is_selected(peer["podSelector"], hub["spec"]["template"]["metadata"]["labels"])
    assert is_selected(peer["namespaceSelector"], namespace_of("Deployment", "visidata-hub")["metadata"]["labels"])
    assert not is_selected(peer["podSelector"], session["metadata"]["labels"])
    (port,) = rule["ports"]
    (terminal,) = [one for one in session["spec"]["containers"][0]["ports"] if one["name"] == port["port"]]
    assert (terminal["containerPort"], terminal["protocol"]) == (settings().k8s_port, port["protocol"])


@pytest.mark.parametrize(
    "address",
    ["10.96.0.1", "100.64.0.1", "169.254.169.254", "172.16.5.5", "192.168.1.1", "127.0.0.1", "fd00::1", "fe80::1"],
)
def test_a_session_reaches_nothing_private(address: str) -> None:
    assert not reaches(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_a_session_reaches_the_public_internet(address: str) -> None:
    assert reaches(address)


def reaches(address: str) -> bool:
    """Whether a session may open connections there, at any port."""
    there = ipaddress.ip_address(address)
    blocks = [
        peer["ipBlock"]
        for rule in the("NetworkPolicy", "sessions")["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer and "ports" not in rule
    ]
    return any(
        there in ipaddress.ip_network(block["cidr"])
        and not any(there in ipaddress.ip_network(one) for one in block.get("except", ()))
        for block in blocks
    )


def test_what_is_no_session_reaches_nobody() -> None:
    policy = the("NetworkPolicy", "nothing")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_quota_has_room_for_as_many_sessions_as_may_run() -> None:
    hard = the("ResourceQuota")["spec"]["hard"]
    resources = a_session()["spec"]["containers"][0]["resources"]
    most = settings().max_runs + settings().warm_runs
    assert quantity(hard["pods"]) >= most
    for kind in ("requests", "limits"):
        for what, each in resources[kind].items():
            if f"{kind}.{what}" in hard:
                assert quantity(hard[f"{kind}.{what}"]) >= most * quantity(each), (kind, what)


def test_the_limits_let_a_session_in() -> None:
    limits = {one["type"]: one for one in the("LimitRange")["spec"]["limits"]}
    resources = a_session()["spec"]["containers"][0]["resources"]
    for what, most in limits["Container"]["max"].items():
        assert quantity(resources["limits"][what]) <= quantity(most)
    storage = manifests.claim("ada", settings())["spec"]["resources"]["requests"]["storage"]
    assert quantity(storage) <= quantity(limits["PersistentVolumeClaim"]["max"]["storage"])


@pytest.mark.parametrize("namespace", ["visidata-hub", "visidata-sessions"])
def test_both_namespaces_take_restricted_pods_only(namespace: str) -> None:
    assert the("Namespace", namespace)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("whose", ["a session", "the Hub"])
def test_pods_are_as_restricted_as_their_namespace_asks(whose: str) -> None:
    spec = a_session()["spec"] if whose == "a session" else the("Deployment")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
    assert all(set(volume) & {"emptyDir", "persistentVolumeClaim"} for volume in spec["volumes"])


def test_a_replica_has_time_to_leave() -> None:
    spec = the("Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > settings().linger.total_seconds() + 8
    assert the("Deployment")["spec"]["replicas"] > the("PodDisruptionBudget")["spec"]["minAvailable"]
    for policy in (the("PodDisruptionBudget"), the("Deployment")):
        assert is_selected(policy["spec"]["selector"], the("Deployment")["spec"]["template"]["metadata"]["labels"])
