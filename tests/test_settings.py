"""What operators may count on: every setting is read from the environment or `.env`, checked, and named when it is bad."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.errors import SettingsError
from app.settings import Settings, load_secret_key

KEY = "k" * 32
POSTGRES = "postgres://hub@db/hub"
ON_KUBERNETES = {"HUB_RUNTIME": "kubernetes", "HUB_SECRET_KEY": KEY, "HUB_DATABASE_URL": POSTGRES}


def read(tmp_path: Path, env_file: str = "", **environ: str) -> Settings:
    path = tmp_path / ".env"
    path.write_text(env_file)
    return Settings.from_env(environ, path)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("HUB_BIND", "0.0.0.0:80", "0.0.0.0:80"),
        ("HUB_BIND", "[::1]:8000", "[::1]:8000"),
        ("HUB_PUBLIC_URL", "https://hub.example.org/", "https://hub.example.org"),
        ("HUB_PUBLIC_URL", "HTTPS://Hub.Example.org", "https://hub.example.org"),
        ("HUB_TRUSTED_PROXIES", "2", 2),
        ("HUB_DATA_DIR", "/srv/hub", Path("/srv/hub")),
        ("HUB_DATA_DIR", "relative", Path("relative").absolute()),
        ("HUB_DATA_DIR", "~/hub", Path.home() / "hub"),
        ("HUB_DATABASE_URL", "postgres://me@there/hub", "postgres://me@there/hub"),
        ("HUB_SECRET_KEY", KEY, KEY),
        ("HUB_GUESTS", "no", False),
        ("HUB_GUESTS", "On", True),
        ("HUB_ACCESS_LOG", "1", True),
        ("HUB_IDLE_TIMEOUT", "90", timedelta(seconds=90)),
        ("HUB_IDLE_TIMEOUT", "0.5s", timedelta(seconds=0.5)),
        ("HUB_IDLE_TIMEOUT", "30m", timedelta(minutes=30)),
        ("HUB_MAX_AGE", "8 H", timedelta(hours=8)),
        ("HUB_GUEST_LIFETIME", "2d", timedelta(days=2)),
        ("HUB_STOP_GRACE", "0", timedelta(0)),
        ("HUB_MAX_UPLOAD", "100", 100),
        ("HUB_MAX_UPLOAD", "500M", 500_000_000),
        ("HUB_MAX_UPLOAD", "2 GiB", 2 << 30),
        ("HUB_MAX_UPLOAD", "3kb", 3000),
        ("HUB_SMTP_URL", "smtps://me:secret@mail.example.org:465", "smtps://me:secret@mail.example.org:465"),
        ("HUB_SANDBOX", "none", "none"),
        ("HUB_LOG_LEVEL", "debug", "debug"),
        ("HUB_K8S_NAMESPACE", "team-a", "team-a"),
        ("HUB_K8S_HUB_NAME", "hub_2.prod", "hub_2.prod"),
        ("HUB_K8S_MEMORY", "512Mi", 512 << 20),
        ("HUB_K8S_CPU", "0.5", 0.5),
        ("HUB_K8S_HOME", "PVC", "pvc"),
        ("HUB_K8S_HOME_ACCESS", "readwritemany", "ReadWriteMany"),
        ("HUB_K8S_PULL_POLICY", "never", "Never"),
        ("HUB_K8S_TEMPLATE", "/etc/hub/pod.yaml", Path("/etc/hub/pod.yaml")),
    ],
)
def test_each_kind_of_value_is_read(tmp_path: Path, name: str, raw: str, value: Any) -> None:
    assert getattr(read(tmp_path, **{name: raw}), name.removeprefix("HUB_").lower()) == value


@pytest.mark.parametrize(
    ("name", "raw", "takes"),
    [
        ("HUB_BIND", "8000", "HOST:PORT"),
        ("HUB_BIND", ":8000", "HOST:PORT"),
        ("HUB_BIND", "127.0.0.1:70000", "HOST:PORT"),
        ("HUB_PUBLIC_URL", "hub.example.org", "https://hub.example.org"),
        ("HUB_PUBLIC_URL", "https://hub.example.org/visidata", "no path"),
        ("HUB_PUBLIC_URL", "https://hub.example.org?x=1", "no path"),
        ("HUB_PUBLIC_URL", "https://[", "https://hub.example.org"),
        ("HUB_TRUSTED_PROXIES", "-1", "a whole number"),
        ("HUB_TRUSTED_PROXIES", "two", "a whole number"),
        ("HUB_DATABASE_POOL", "0", "1 or more"),
        ("HUB_DATABASE_URL", "mysql://there/hub", "postgresql://"),
        ("HUB_SECRET_KEY", "short", "too short"),
        ("HUB_RUNTIME", "docker", "local or kubernetes"),
        ("HUB_SANDBOX", "firejail", "auto, bubblewrap or none"),
        ("HUB_GUESTS", "maybe", "true or false"),
        ("HUB_IDLE_TIMEOUT", "8 hours", "a length of time"),
        ("HUB_IDLE_TIMEOUT", "-5m", "a length of time"),
        ("HUB_IDLE_TIMEOUT", "0", "above zero"),
        ("HUB_MAX_AGE", "9" * 400, "a length of time"),
        ("HUB_MAX_UPLOAD", "plenty", "a size"),
        ("HUB_SMTP_URL", "mail.example.org", "smtp://"),
        ("HUB_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("HUB_K8S_NAMESPACE", "Team A", "the name of a namespace"),
        ("HUB_K8S_HUB_NAME", "-hub", "label"),
        ("HUB_K8S_MEMORY", "1023k", "1M or more"),
        ("HUB_K8S_CPU", "0", "processor cores"),
        ("HUB_K8S_CPU", "500m", "processor cores"),
        ("HUB_K8S_CPU_REQUEST", "3", "HUB_K8S_CPU"),
        ("HUB_K8S_HOME", "shared", "HUB_K8S_HOME_CLAIM"),
        ("HUB_K8S_HOME", "nfs", "emptydir, pvc or shared"),
        ("HUB_K8S_PULL_POLICY", "Sometimes", "IfNotPresent, Always or Never"),
        ("HUB_K8S_PORT", "80", "1024"),
    ],
)
def test_a_bad_value_is_named_with_what_the_setting_takes(tmp_path: Path, name: str, raw: str, takes: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, **{name: raw})
    assert name in str(raised.value)
    assert takes in str(raised.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, HUB_GUESTS="maybe", HUB_MAX_UPLOAD="plenty", HUB_NONSENSE="1")
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["HUB_DATABASE_URL", "HUB_SMTP_URL"])
def test_a_bad_address_with_a_password_in_it_is_not_repeated_in_the_log(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        read(tmp_path, **{name: "http://me:opensesame@there"})
    assert "opensesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("HUB_DATABSE_URL", "HUB_DATABASE_URL"),
        ("HUB_SECRET", "HUB_SECRET_KEY"),
        ("HUB_IDLE_TIME", "HUB_IDLE_TIMEOUT"),
        ("HUB_SESSION_PER_USER", "HUB_SESSIONS_PER_USER"),
    ],
)
def test_a_misspelt_name_is_an_error_that_names_the_nearest_right_one(
    tmp_path: Path, misspelt: str, meant: str
) -> None:
    with pytest.raises(SettingsError, match=f"{misspelt} is not a setting. Did you mean {meant}?"):
        read(tmp_path, **{misspelt: "x"})


def test_names_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    assert read(tmp_path, PATH="/bin", GITHUB_TOKEN="x") == Settings()


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, "HUB_MAX_RUNS=7\nHUB_GUESTS=false\n", HUB_MAX_RUNS="9")
    assert (settings.max_runs, settings.guests) == (9, False)
    assert settings.sessions_per_user == Settings().sessions_per_user


def test_empty_means_not_set(tmp_path: Path) -> None:
    assert read(tmp_path, "HUB_MAX_RUNS=\nHUB_SMTP_URL\n", HUB_BIND=" ", HUB_GUESTS="") == Settings()


def test_a_mistake_in_the_file_is_told_like_one_in_the_environment(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HUB_GUEST is not a setting\. Did you mean HUB_GUESTS"):
        read(tmp_path, "HUB_GUEST=true\n")


def test_no_secret_comes_with_the_program(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.secret_key, settings.smtp_url, settings.database_url) == ("", "", "")


def test_kubernetes_asks_for_a_key_that_replicas_share(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HUB_SECRET_KEY is required with HUB_RUNTIME=kubernetes"):
        read(tmp_path, HUB_RUNTIME="kubernetes", HUB_DATABASE_URL=POSTGRES)
    assert read(tmp_path, **ON_KUBERNETES).secret_key == KEY


def test_kubernetes_asks_for_a_postgres_that_outlives_the_replica(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HUB_DATABASE_URL is required with HUB_RUNTIME=kubernetes"):
        read(tmp_path, HUB_RUNTIME="kubernetes", HUB_SECRET_KEY=KEY)
    assert read(tmp_path, **ON_KUBERNETES).database_url == POSTGRES


def test_on_kubernetes_strangers_get_no_shell_unless_an_operator_says_so(tmp_path: Path) -> None:
    assert read(tmp_path).guests is True
    assert read(tmp_path, **ON_KUBERNETES).guests is False
    assert read(tmp_path, **ON_KUBERNETES, HUB_GUESTS="true").guests is True
    assert read(tmp_path, HUB_GUESTS="false").guests is False


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://127.0.0.1:80"),
        ("hub.lan:8080", "http://hub.lan:8080"),
    ],
)
def test_the_public_address_is_where_it_listens_unless_it_is_given(tmp_path: Path, bind: str, url: str) -> None:
    assert read(tmp_path, HUB_BIND=bind).public_url == url


@pytest.mark.parametrize(
    ("bind", "only"),
    [
        ("127.0.0.1:80", True),
        ("127.8.8.8:80", True),
        ("localhost:80", True),
        ("[::1]:80", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("192.168.1.5:80", False),
        ("localhost.example.org:80", False),
        ("127.example.org:80", False),
    ],
)
def test_what_other_machines_can_reach_is_not_taken_for_this_machine_alone(
    tmp_path: Path, bind: str, only: bool
) -> None:
    assert read(tmp_path, HUB_BIND=bind).loopback_only is only


def test_a_gotty_that_is_not_there_is_an_error_and_none_means_the_agent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HUB_GOTTY"):
        _ = read(tmp_path, HUB_GOTTY=str(tmp_path / "gotty")).gotty_path
    assert read(tmp_path, HUB_GOTTY="none").gotty_path is None
    program = tmp_path / "gotty"
    program.touch(mode=0o755)
    assert read(tmp_path, HUB_GOTTY=str(program)).gotty_path == str(program)


def test_a_key_is_made_once_kept_to_oneself_and_the_same_for_all_who_start_at_once(tmp_path: Path) -> None:
    settings = read(tmp_path, HUB_DATA_DIR=str(tmp_path / "data"))
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: load_secret_key(settings), range(64)))
    assert len(keys) == 1
    assert len(keys.pop()) >= 43  # 256 bits, as text.
    assert stat.S_IMODE((tmp_path / "data" / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret_key"]


def test_a_given_key_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    settings = read(tmp_path, HUB_DATA_DIR=str(tmp_path / "data"), HUB_SECRET_KEY=KEY)
    assert load_secret_key(settings) == KEY
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("runtime", "home", "limit"),
    [
        ("kubernetes", "shared", 5 << 30),
        ("kubernetes", "pvc", None),
        ("kubernetes", "emptydir", None),
        ("local", "shared", None),
    ],
)
def test_uploads_are_held_to_a_homes_size_where_no_volume_is(runtime: str, home: str, limit: int | None) -> None:
    settings = Settings(
        runtime=runtime,  # type: ignore[arg-type]
        k8s_home=home,  # type: ignore[arg-type]
        k8s_home_claim="homes",
        k8s_home_size=5 << 30,
        secret_key="x" * 32,
        database_url="postgres://hub@localhost/hub",
    )
    assert settings.max_home == limit
