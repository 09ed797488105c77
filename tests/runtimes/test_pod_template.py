"""An operator's template is checked at the start, and each mistake in it is told with its field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.errors import SettingsError
from app.runtimes.kubernetes import template

GOOD = """
apiVersion: v1
kind: Pod
metadata:
  labels: {team: data}
spec:
  nodeSelector: {pool: sessions}
  tolerations: [{key: sessions, operator: Exists}]
  runtimeClassName: gvisor
  hostUsers: false
  securityContext: {runAsUser: 2000, fsGroup: 2000}
  imagePullSecrets: [{name: registry}]
  volumes:
    - name: datasets
      persistentVolumeClaim: {claimName: datasets}
    - name: scratch
      emptyDir: {sizeLimit: 1Gi, medium: Memory}
  containers:
    - name: visidata
      image: registry.example.org/sessions:7
      command: [/opt/start]
      resources: {limits: {cpu: 2, nvidia.com/gpu: 1}}
      env:
        - {name: TZ, value: Europe/Zurich}
        - name: TOKEN
          valueFrom: {secretKeyRef: {name: data, key: token}}
      volumeMounts: [{name: datasets, mountPath: /datasets, readOnly: true}]
    - name: metrics
      image: metrics:1
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    return template.load(path)


def test_a_good_one_is_taken_as_it_is(tmp_path: Path) -> None:
    good = yaml.safe_load(GOOD)
    assert load(tmp_path, GOOD) == {"metadata": good["metadata"], "spec": good["spec"]}


def test_an_empty_one_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing yet\n") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spec: {nodeSelectr: {a: b}}", "spec.nodeSelectr: Kubernetes has no such field. Did you mean nodeSelector?"),
        (
            "spec: {containers: [{name: visidata, imagee: x}]}",
            "spec.containers[0].imagee: Kubernetes has no such field",
        ),
        ("spec: {tolerations: {key: a}}", "spec.tolerations takes a list"),
        ("spec: {priority: high}", "spec.priority takes a whole number"),
        ("spec: {hostUsers: 'no'}", "spec.hostUsers takes true or false"),
        ("spec: {nodeSelector: {pool: 7}}", "spec.nodeSelector.pool takes text"),
        ("spec: {nodeSelector: [a]}", "spec.nodeSelector takes names with values"),
        ("spec: {containers: [{image: x}]}", "spec.containers[0] has no name"),
        ("spec: {volumes: [{emptyDir: {}}]}", "spec.volumes[0] has no name"),
        ("spec:", "spec is empty"),
        ("- a\n- b", "takes fields with values"),
        ("spec: {", "is no YAML"),
        ("metadata: {name: mine}", "metadata.name is the Hub's own"),
        ("metadata: {finalizers: [a]}", "metadata.finalizers is the Hub's own"),
        ("metadata: {labels: {visidata-hub/session: x}}", "metadata.labels.visidata-hub/session is the Hub's own"),
        ("status: {phase: Running}", "status: a template has metadata and spec alone"),
        ("kind: Deployment", "kind: a template is part of a Pod"),
        ("spec: {restartPolicy: Always}", "spec.restartPolicy cannot be set"),
        ("spec: {activeDeadlineSeconds: 5}", "HUB_MAX_AGE decides"),
        ("spec: {terminationGracePeriodSeconds: 5}", "HUB_STOP_GRACE decides"),
        ("spec: {automountServiceAccountToken: true}", "no access to the cluster"),
        ("spec: {hostNetwork: true}", "spec.hostNetwork cannot be set"),
        ("spec: {hostPID: true}", "spec.hostPID cannot be set"),
        ("spec: {shareProcessNamespace: true}", "spec.shareProcessNamespace cannot be set"),
        ("spec: {nodeName: node1}", "use nodeSelector"),
        ("spec: {securityContext: {runAsNonRoot: false}}", "spec.securityContext.runAsNonRoot is the Hub's own"),
        ("spec: {securityContext: {runAsUser: 0}}", "spec.securityContext.runAsUser: a session does not run as root"),
        ("spec: {securityContext: {seccompProfile: {type: Unconfined}}}", "spec.securityContext.seccompProfile"),
        (
            "spec: {containers: [{name: visidata, securityContext: {privileged: true}}]}",
            "spec.containers[0].securityContext.privileged is the Hub's own",
        ),
        (
            "spec: {initContainers: [{name: a, image: b, securityContext: {capabilities: {add: [NET_ADMIN]}}}]}",
            "spec.initContainers[0].securityContext.capabilities is the Hub's own",
        ),
        (
            "spec: {containers: [{name: x, image: y, securityContext: {readOnlyRootFilesystem: false}}]}",
            "spec.containers[0].securityContext.readOnlyRootFilesystem is the Hub's own",
        ),
        ("spec: {containers: [{name: visidata, args: [x]}]}", "spec.containers[0].args cannot be set"),
        ("spec: {containers: [{name: visidata, tty: true}]}", "spec.containers[0].tty cannot be set"),
        (
            "spec: {containers: [{name: visidata, env: [{name: HUB_RUN_CREDENTIAL, value: x}]}]}",
            "spec.containers[0].env[0]: HUB_RUN_CREDENTIAL is the Hub's own",
        ),
        (
            "spec: {containers: [{name: visidata, volumeMounts: [{name: x, mountPath: /home/visidata/}]}]}",
            "spec.containers[0].volumeMounts[0].mountPath",
        ),
        ("spec: {containers: [{name: session, env: []}]}", "The session's own container is called visidata"),
        ("spec: {volumes: [{name: home, emptyDir: {}}]}", "spec.volumes[0].name: the volume home is the Hub's own"),
        ("spec: {volumes: [{name: x, hostPath: {path: /}}]}", "spec.volumes[0].hostPath"),
    ],
)
def test_a_mistake_is_told_with_its_field(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, text)
    assert told in str(raised.value)
    assert "HUB_K8S_TEMPLATE" in str(raised.value)
    assert "pod.yaml" in str(raised.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, "spec: {hostNetwork: true, hostPID: true, volumes: [{name: tmp, emptyDir: {}}]}")
    assert len(str(raised.value).splitlines()) == 3


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HUB_K8S_TEMPLATE: .*nowhere\.yaml cannot be read"):
        template.load(tmp_path / "nowhere.yaml")
