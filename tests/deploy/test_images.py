"""The images' recipes: that they agree with what the Hub relies on. `make test-cluster` runs the sessions' image itself."""

from __future__ import annotations

import json
import re

import pytest

from app.agent import visidata
from app.runtimes.kubernetes import manifests
from app.settings import PROJECT, Settings

SESSION, HUB = (
    re.sub(r"\\\n\s*", "", (PROJECT / "deploy" / name / "Dockerfile").read_text()) for name in ("visidata", "hub")
)


def said(recipe: str, instruction: str) -> list[str]:
    """The arguments of each such line."""
    return re.findall(rf"^{instruction} (.*)$", recipe, re.MULTILINE)


def test_a_session_starts_the_agent_which_has_gotty_speak() -> None:
    (entry_point,) = said(SESSION, "ENTRYPOINT")
    argv = json.loads(entry_point)
    assert argv[1:] == ["-P", "-m", "app.agent", "visidata", "--gotty", "/usr/local/bin/gotty"]
    assert any(line.endswith(f"/gotty {argv[-1]}") for line in said(SESSION, "COPY"))


def test_gotty_is_of_one_commit_and_its_parts_are_checked() -> None:
    (commit,) = re.findall(r"^ARG GOTTY_COMMIT=(.*)$", SESSION, re.MULTILINE)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert "-mod=readonly" in SESSION


def test_of_the_hub_only_the_agent_goes_into_a_session() -> None:
    copied = [line.split()[0] for line in said(SESSION, "COPY") if not line.startswith("--from")]
    assert copied == ["requirements/session.txt", "app/files/build_samples.py", "app/__init__.py", "app/agent"]


@pytest.mark.parametrize(("recipe", "pins"), [(SESSION, "session.txt"), (HUB, "hub.txt")], ids=["session", "hub"])
def test_packages_are_those_of_the_pins(recipe: str, pins: str) -> None:
    installs = re.findall(r"pip install [^&\n]*", recipe)
    assert installs
    assert all("--require-hashes" in one or "--no-deps" in one for one in installs)
    assert any(pins in one for one in installs)


@pytest.mark.parametrize("recipe", [SESSION, HUB], ids=["session", "hub"])
def test_every_step_that_fetches_takes_a_ca_and_an_index_of_ones_own_and_keeps_neither(recipe: str) -> None:
    steps = [step for step in said(recipe, "RUN") if re.search(r"pip install .*-r |npm ci|git fetch|go build", step)]
    assert len(steps) >= 2
    for step in steps:
        assert "--mount=type=secret,id=ca,target=/run/ca.pem" in step
        assert ("--mount=type=secret,id=pip,target=/etc/pip.conf" in step) == ("pip install" in step)
        assert ("--mount=type=secret,id=npm,target=/root/.npmrc" in step) == ("npm ci" in step)
    assert not re.search(r"^(ENV|ARG) .*(CERT|INDEX|REGISTRY)", recipe, re.MULTILINE)


@pytest.mark.parametrize("recipe", [SESSION, HUB], ids=["session", "hub"])
def test_nothing_runs_as_root(recipe: str) -> None:
    assert said(recipe, "USER") == [f"{manifests.UID}:{manifests.UID}"]


def test_samples_and_port_are_where_the_hub_says() -> None:
    assert said(SESSION, "EXPOSE") == [str(Settings().k8s_port)]
    assert f"--from=build {visidata.SAMPLES} {visidata.SAMPLES}" in said(SESSION, "COPY")
    assert said(SESSION, "WORKDIR")[-1] == manifests.HOME
