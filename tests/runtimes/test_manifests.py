"""The pod that a person gets a shell in: what it may do, how large it is, and that every Kubernetes takes it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_validate.utils import all_versions

from app.runtimes.base import RunId, RunSpec, Source
from app.runtimes.kubernetes import manifests, names
from app.settings import Settings

RUN = RunId("srrmx3qydgjz", 3)
USER = "3c9d3c0e-7a0b-4c43-9a52-3b7e5a9c1f00"


def a_spec(**changes: Any) -> RunSpec:
    return dataclasses.replace(RunSpec(RUN, USER, "hub:secret"), **changes)


def a_pod(template: dict[str, Any] | None = None, spec: RunSpec | None = None, **settings: Any) -> dict[str, Any]:
    return manifests.pod(spec or a_spec(), dataclasses.replace(Settings(), **settings), template)


def session_of(pod: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in pod["spec"]["containers"] if one["name"] == names.CONTAINER)


TEMPLATE = {
    "metadata": {"annotations": {"example.org/team": "data"}, "labels": {"team": "data"}},
    "spec": {
        "nodeSelector": {"pool": "sessions"},
        "tolerations": [{"key": "sessions", "operator": "Exists", "effect": "NoSchedule"}],
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "datasets", "persistentVolumeClaim": {"claimName": "datasets", "readOnly": True}}],
        "containers": [
            {
                "name": "visidata",
                "env": [{"name": "TZ", "value": "Europe/Zurich"}],
                "resources": {"limits": {"memory": "4Gi"}, "requests": {"memory": "4Gi"}},
                "volumeMounts": [{"name": "datasets", "mountPath": "/datasets", "readOnly": True}],
            },
            {"name": "metrics", "image": "metrics:1"},
        ],
        "initContainers": [{"name": "prepare", "image": "prepare:1"}],
    },
}


# What every Kubernetes takes


@pytest.mark.parametrize("version", all_versions()[::4])
@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["plain", "with a template"])
@pytest.mark.parametrize("home", ["emptydir", "pvc", "shared"])
def test_kubernetes_takes_the_pod(version: str, template: dict[str, Any] | None, home: str) -> None:
    pod = a_pod(template, a_spec(source=Source("file", "a.csv")), k8s_home=home, k8s_home_claim="homes")
    assert kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", all_versions()[::4])
@pytest.mark.parametrize("storage_class", ["", "fast"])
def test_kubernetes_takes_the_claim(version: str, storage_class: str) -> None:
    claim = manifests.claim(USER, dataclasses.replace(Settings(), k8s_storage_class=storage_class))
    assert kubernetes_validate.validate(claim, version, strict=True)


def test_the_schemas_know_a_mistake_when_they_see_one() -> None:
    pod = a_pod()
    pod["spec"]["restartPolcy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


# What a person with a shell must not be able to do


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["plain", "with a template"])
def test_no_container_can_gain_rights(template: dict[str, Any] | None) -> None:
    spec = a_pod(template)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    containers = spec["containers"] + spec.get("initContainers", [])
    assert len(containers) == (3 if template else 1)
    for container in containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsNonRoot"] is True


def test_a_pod_knows_nothing_of_the_cluster_and_is_never_started_again() -> None:
    spec = a_pod()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"


def test_the_credential_is_in_the_environment_and_on_no_command_line() -> None:
    container = session_of(a_pod(spec=a_spec(credential="hub:opensesame")))
    assert {"name": "HUB_RUN_CREDENTIAL", "value": "hub:opensesame"} in container["env"]
    assert "opensesame" not in str(container["args"])
    assert "command" not in container, "the image's entry point is the agent"


# How large it is, and how long it lives


def test_memory_is_kept_free_whole_and_the_processor_is_shared() -> None:
    resources = session_of(a_pod(k8s_memory=512 << 20, k8s_cpu=1.5, k8s_cpu_request=0.05))["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == "512Mi"
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("50m", "1500m")


def test_nothing_can_fill_the_nodes_disk() -> None:
    pod = a_pod(k8s_home_size=2 << 30, k8s_tmp_size=1 << 30)
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["home"] == {"name": "home", "emptyDir": {"sizeLimit": "2Gi"}}
    assert volumes["tmp"] == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    limit = session_of(pod)["resources"]["limits"]["ephemeral-storage"]
    assert limit == manifests.quantity((3 << 30) + manifests.LOGS), "both, and what a container prints"


def test_a_pod_that_no_hub_ends_is_ended_by_the_cluster_but_not_before_the_hub_would() -> None:
    deadline = a_pod(max_age=timedelta(hours=8))["spec"]["activeDeadlineSeconds"]
    assert 8 * 3600 < deadline <= 9 * 3600


def test_there_is_time_to_save_and_to_write_down_the_end() -> None:
    pod = a_pod(stop_grace=timedelta(seconds=20))
    arguments = session_of(pod)["args"]
    assert arguments[arguments.index("--grace") + 1] == "20"
    assert pod["spec"]["terminationGracePeriodSeconds"] > 20


@pytest.mark.parametrize(
    ("size", "text"),
    [(1 << 30, "1Gi"), (1536 << 20, "1536Mi"), (3 << 10, "3Ki"), (1000, "1000"), (0, "0"), (5 << 40, "5120Gi")],
)
def test_sizes_are_written_as_kubernetes_does(size: int, text: str) -> None:
    assert manifests.quantity(size) == text


# Whose it is, and what is in it


def test_its_name_and_labels_say_whose_run_it_is() -> None:
    pod = a_pod(k8s_hub_name="prod", k8s_namespace="team-a")
    assert pod["metadata"]["name"] == "vd-srrmx3qydgjz-3"
    assert pod["metadata"]["namespace"] == "team-a"
    assert names.run_of(pod, names.Owner("prod")) == RUN
    assert pod["metadata"]["labels"].items() >= dict([names.selector("prod").split("=")]).items()


@pytest.mark.parametrize(
    "change",
    [
        {"visidata-hub/hub": "another"},
        {"visidata-hub/session": "somebodyelse"},
        {"visidata-hub/generation": "4"},
        {"visidata-hub/generation": "three"},
        {"visidata-hub/session": ""},
    ],
    ids=str,
)
def test_a_pod_whose_labels_do_not_fit_is_nobodys_run(change: dict[str, str]) -> None:
    pod = a_pod(k8s_hub_name="prod")
    pod["metadata"]["labels"] |= change
    assert names.run_of(pod, names.Owner("prod")) is None
    assert names.run_of({"metadata": {"name": pod["metadata"]["name"]}}, names.Owner("prod")) is None


@given(st.text("abcdefghijkmnpqrstuvwxyz23456789", min_size=1, max_size=20), st.integers(1, 10**9))
def test_every_run_is_found_again_by_its_pod(session_id: str, generation: int) -> None:
    run = RunId(session_id, generation)
    pod = {"metadata": {"name": names.pod_name(run), "labels": names.pod_labels(names.Owner("hub"), run, USER)}}
    assert names.run_of(pod, names.Owner("hub")) == run


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        (Source(), []),
        (Source("sample", "penguins.csv"), ["--", "/samples/penguins.csv"]),
        (Source("file", "a folder/x.csv"), ["--", "a folder/x.csv"]),
        (Source("file", "--help"), ["--", "--help"]),
        # Kubernetes puts a variable's value in the place of $(NAME), and one $ in that of two.
        (Source("file", "$(HUB_RUN_CREDENTIAL)$$.csv"), ["--", "$$(HUB_RUN_CREDENTIAL)$$$$.csv"]),
    ],
)
def test_what_the_session_opens_is_the_last_argument(source: Source, opened: list[str]) -> None:
    arguments = session_of(a_pod(spec=a_spec(source=source)))["args"]
    assert (arguments[arguments.index("--") :] if "--" in arguments else []) == opened


# Homes


def test_a_home_on_a_volume_is_the_users_own() -> None:
    pod = a_pod(k8s_home="pvc")
    claim = manifests.claim(USER, dataclasses.replace(Settings(), k8s_home_size=5 << 30, k8s_storage_class="fast"))
    home = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "home")
    assert home["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == f"home-{USER}"
    assert names.home_of(claim, names.Owner("visidata-hub")) == USER
    assert names.home_of(claim, names.Owner("another")) is None
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"


def test_a_guest_has_nothing_that_outlives_the_run() -> None:
    pod = a_pod(spec=a_spec(guest=True), k8s_home="pvc")
    assert not [volume for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert "affinity" not in pod["spec"]


def test_of_a_volume_with_everybodys_homes_a_pod_has_its_persons_alone() -> None:
    pod = a_pod(k8s_home="shared", k8s_home_claim="homes")
    home = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "home")
    assert home["persistentVolumeClaim"]["claimName"] == "homes"
    (mount,) = (one for one in session_of(pod)["volumeMounts"] if one["name"] == "home")
    assert mount["subPath"] == USER
    assert "affinity" not in pod["spec"], "it can be on every node"
    guest = a_pod(spec=a_spec(guest=True), k8s_home="shared", k8s_home_claim="homes")
    assert not [volume for volume in guest["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert all("subPath" not in one for one in session_of(guest)["volumeMounts"])


def test_sessions_that_share_a_single_node_volume_are_kept_on_one_node() -> None:
    (term,) = a_pod(k8s_home="pvc")["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = a_pod()["metadata"]["labels"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= labels.items(), "the first of them may go anywhere"
    assert names.USER in term["labelSelector"]["matchLabels"]
    assert "affinity" not in a_pod(k8s_home="pvc", k8s_home_access="ReadWriteMany")["spec"]
    assert "affinity" not in a_pod()["spec"]


# An operator's template


def test_a_template_adds_to_the_pod() -> None:
    pod = a_pod(TEMPLATE)
    spec, session = pod["spec"], session_of(pod)
    assert pod["metadata"]["annotations"] == {"example.org/team": "data"}
    assert pod["metadata"]["labels"]["team"] == "data"
    assert names.run_of(pod, names.Owner("visidata-hub")) == RUN
    assert spec["nodeSelector"] == {"pool": "sessions"}
    assert spec["runtimeClassName"] == "gvisor"
    assert [volume["name"] for volume in spec["volumes"]] == ["home", "tmp", "datasets"]
    assert [one["name"] for one in session["env"]] == ["HOME", "TMPDIR", "HUB_RUN_CREDENTIAL", "TZ"]
    assert [one["mountPath"] for one in session["volumeMounts"]] == ["/home/visidata", "/tmp", "/datasets"]
    assert session["resources"]["limits"] == {**session_of(a_pod())["resources"]["limits"], "memory": "4Gi"}
    assert session["image"] == Settings().k8s_image


def test_a_template_is_laid_over_anew_for_each_pod() -> None:
    assert a_pod(TEMPLATE) == a_pod(TEMPLATE)
    first = a_pod(TEMPLATE)
    first["spec"]["nodeSelector"]["pool"] = "changed"
    session_of(first)["resources"]["limits"]["memory"] = "changed"
    assert "changed" not in str(a_pod(TEMPLATE))


@pytest.mark.parametrize(
    ("base", "extra", "result"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"tolerations": [1]}, {"tolerations": [2]}, {"tolerations": [1, 2]}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "C", "value": "3"}, {"name": "A", "value": "9"}]},
            {"env": [{"name": "A", "value": "9"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]},
        ),
        (
            {"containers": [{"name": "x", "args": ["1"], "image": "i"}]},
            {"containers": [{"name": "x", "image": "j"}]},
            {"containers": [{"name": "x", "args": ["1"], "image": "j"}]},
        ),
        ({}, {"a": {"b": [1]}}, {"a": {"b": [1]}}),
    ],
)
def test_merging(base: Any, extra: Any, result: Any) -> None:
    before = str(base), str(extra)
    assert manifests.merged(base, extra) == result
    assert (str(base), str(extra)) == before
