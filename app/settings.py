"""Every option of the Hub, read once, typed and checked. The one place that reads the environment.

Each field of `Settings` is the setting `HUB_<FIELD>`; values come from the environment, then from `.env` in the working
directory, then from the default here. An unknown `HUB_` name is an error that names the nearest right one. Empty means
"not set". Must not open a connection, start a process or create a file (`secret_key` is resolved by `load_secret_key`).
"""

from __future__ import annotations

import difflib
import fcntl
import ipaddress
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values

from app.errors import SettingsError

PROJECT = Path(__file__).resolve().parent.parent


def _text(raw: str) -> str:
    return raw


def _boolean(raw: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[raw.lower()]
    except KeyError:
        raise ValueError("takes true or false") from None


def _count(raw: str) -> int:
    if not raw.isdecimal():
        raise ValueError("takes a whole number, 0 or more")
    return int(raw)


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def _duration(raw: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", raw.lower())
    if not found:
        raise ValueError("takes a length of time like 90s, 30m, 8h or 2d")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise ValueError("takes a length of time of some years at most") from None


def _size(raw: str) -> int:
    """Bytes: `500M` is in powers of 1,000 and `512Mi` of 1,024, as in Kubernetes and as file sizes are shown."""
    found = re.fullmatch(r"(\d+)\s*(?:([kmgt])(i)?)?b?", raw.lower())
    if not found:
        raise ValueError("takes a size like 500M or 2G")
    return int(found[1]) * int((1024 if found[3] else 1000) ** _POWERS[found[2] or ""])


def _path(raw: str) -> Path:
    return Path(raw).expanduser().absolute()


def _bind(raw: str) -> str:
    host, colon, port = raw.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("takes HOST:PORT, like 127.0.0.1:8000")
    return raw


def _url(raw: str) -> str:
    found = re.fullmatch(r"(https?://(?:\[[0-9a-f:.]+\]|[^/?#@:\[\]\s]+)(?::\d+)?)/?", raw.lower())
    if not found:
        raise ValueError("takes the address that people use, like https://hub.example.org (no path)")
    return found[1]


def _database(raw: str) -> str:
    if not raw.startswith(("postgres://", "postgresql://")):
        raise ValueError("takes a Postgres address, like postgresql://user:password@host:5432/hub")
    return raw


def _smtp(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("takes smtp://[user:password@]host[:port] or smtps://…")
    return raw


def _choice(*words: str) -> Callable[[str], str]:
    def choose(raw: str) -> str:
        by_lower = {word.lower(): word for word in words}
        try:
            return by_lower[raw.lower()]
        except KeyError:
            raise ValueError(f"takes {', '.join(words[:-1])} or {words[-1]}") from None

    return choose


def _cores(raw: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", raw) or not float(raw):
        raise ValueError("takes a number of processor cores like 0.5 or 2")
    return float(raw)


def _namespace(raw: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", raw):
        raise ValueError("takes the name of a namespace: a-z, 0-9 and -, 63 characters at most")
    return raw


def _label(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", raw):
        raise ValueError("takes what a Kubernetes label may hold: letters, digits, -, _ and ., 63 characters at most")
    return raw


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # Any other name may lead anywhere.


def _option(cast: Callable[[str], Any], default: Any, help_text: str) -> Any:
    metadata = {"cast": cast, "help": help_text}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one Hub process. Lengths of time are timedeltas, sizes are bytes, paths are absolute."""

    bind: str = _option(_bind, "127.0.0.1:8000", "Where the Hub listens.")
    public_url: str = _option(_url, "", "The address people use; default: http:// and HUB_BIND.")
    trusted_proxies: int = _option(_count, 0, "Number of trusted proxies that set X-Forwarded-For (0: ignore it).")
    linger: timedelta = _option(
        _duration,
        timedelta(seconds=2),
        "How long the Hub still serves after SIGTERM, so that load balancers notice; it ends within 8 s after that.",
    )
    data_dir: Path = _option(
        _path, lambda: Path("data").absolute(), "Homes, runs, the secret key, the private Postgres."
    )
    database_url: str = _option(_database, "", "A Postgres of your own; empty: a private one in the data folder.")
    database_pool: int = _option(_count, 10, "Most database connections of one replica.")
    secret_key: str = _option(_text, "", "Signs logins; made and kept in the data folder when empty.")
    runtime: Literal["local", "kubernetes"] = _option(
        _choice("local", "kubernetes"), "local", "Where sessions run: local or kubernetes."
    )
    guests: bool | None = _option(  # Never None once the settings are made.
        _boolean,
        None,
        "Whether people may try it without an account; empty: yes, except with HUB_RUNTIME=kubernetes.",
    )
    guest_lifetime: timedelta = _option(
        _duration, timedelta(days=1), "A guest not seen for this long is deleted, with sessions and files."
    )
    max_guests: int = _option(_count, 50, "Most guests at once.")
    guests_per_address: int = _option(
        _count,
        0,
        "Maximum number of guests from one address (an IPv6 /64 counts as one); 0: a third of HUB_MAX_GUESTS.",
    )
    login_lifetime: timedelta = _option(_duration, timedelta(days=30), "How long a login lasts.")
    smtp_url: str = _option(_smtp, "", "Where mail goes out; empty: mails are printed, on Kubernetes not sent.")
    mail_from: str = _option(_text, "VisiData Hub <hub@localhost>", "The sender of the Hub's mails.")
    sessions_per_user: int = _option(_count, 20, "Most sessions that one person may have.")
    guest_sessions: int = _option(_count, 3, "Most sessions that one guest may have.")
    idle_timeout: timedelta = _option(
        _duration, timedelta(hours=8), "Without input for this long, a session is stopped."
    )
    max_age: timedelta = _option(_duration, timedelta(days=7), "A run older than this is stopped.")
    warn_before: timedelta = _option(
        _duration,
        timedelta(minutes=5),
        "How long a warning is shown before a session is stopped for being idle or too old; 0: none.",
    )
    start_timeout: timedelta = _option(_duration, timedelta(seconds=60), "A start that takes longer has failed.")
    stop_grace: timedelta = _option(
        _duration,
        timedelta(seconds=5),
        "How long a program may take to end by itself. A save that is not finished by then leaves the old file.",
    )
    max_runs: int = _option(_count, 100, "Most runs at once, over all users; more wait in a queue.")
    starts_per_minute: int = _option(
        _count, 0, "Most starts in a minute, over all users, where a cluster is to be spared; 0: any number."
    )
    warm_runs: int = _option(
        _count,
        0,
        "Runs that are kept ready for sessions without a volume, so that these start at once (Kubernetes only).",
    )
    max_upload: int = _option(_size, 10**9, "Largest file that may be uploaded.")
    session_python: Path = _option(
        _path, lambda: PROJECT / ".venv-session" / "bin" / "python", "The Python that has VisiData and its loaders."
    )
    gotty: str = _option(_text, "", "Path of GoTTY; empty: the one on PATH; `none`: the agent plays its part.")
    sandbox: Literal["auto", "bubblewrap", "none"] = _option(
        _choice("auto", "bubblewrap", "none"), "auto", "How local sessions are kept apart: auto, bubblewrap or none."
    )
    session_network: bool = _option(
        _boolean, True, "Whether sandboxed sessions may use the network, this machine's own ports included."
    )
    allow_unsandboxed_bind: bool = _option(
        _boolean,
        False,
        "Lets a Hub without a sandbox listen on more than this machine. Everybody can then do all you can.",
    )
    k8s_namespace: str = _option(_namespace, "visidata-hub", "The namespace of the sessions' pods.")
    k8s_hub_name: str = _option(
        _label, "visidata-hub", "Tells this Hub's pods from those of another in the same namespace."
    )
    k8s_image: str = _option(_text, "visidata-hub-session:latest", "The image of the sessions.")
    k8s_pull_policy: Literal["IfNotPresent", "Always", "Never"] = _option(
        _choice("IfNotPresent", "Always", "Never"),
        "IfNotPresent",
        "When the image is fetched: IfNotPresent, Always or Never.",
    )
    k8s_template: Path | None = _option(
        _path,
        None,
        "A YAML file that is merged into each session's pod: tolerations, pull secrets, volumes and the like.",
    )
    k8s_scheduling_timeout: timedelta = _option(
        _duration,
        timedelta(minutes=10),
        "How long a start may wait for the cluster: for a machine with room, a volume or the image.",
    )
    k8s_port: int = _option(_count, 8080, "The port of a session's terminal, in its pod.")
    k8s_memory: int = _option(_size, 1 << 30, "Memory that a session has for itself.")
    k8s_cpu: float = _option(_cores, 2.0, "Most processor cores that a session may use.")
    k8s_cpu_request: float = _option(_cores, 0.1, "Processor cores that are kept free for each session.")
    k8s_tmp_size: int = _option(_size, 1 << 30, "Most that a session may keep in /tmp.")
    k8s_home: Literal["emptydir", "pvc", "shared"] = _option(
        _choice("emptydir", "pvc", "shared"),
        "emptydir",
        "Where homes are: emptydir (gone with the run), pvc (a volume for each user) or shared (one volume, the Hub's too).",
    )
    k8s_home_claim: str = _option(
        _text, "", "With shared homes: the claim of the volume that the Hub has at `homes` in HUB_DATA_DIR."
    )
    k8s_home_size: int = _option(
        _size, 1 << 30, "Most that a home may hold: the size of its volume, or with shared homes what uploads may fill."
    )
    k8s_home_access: Literal["ReadWriteOnce", "ReadWriteMany"] = _option(
        _choice("ReadWriteOnce", "ReadWriteMany"),
        "ReadWriteOnce",
        "How homes on volumes are shared: ReadWriteOnce (all of a user's sessions on one node) or ReadWriteMany.",
    )
    k8s_storage_class: str = _option(_text, "", "The storage class of homes on volumes; empty: the cluster's default.")
    access_log: bool = _option(_boolean, False, "Whether every request is logged.")
    log_level: str = _option(_text, "INFO", "DEBUG, INFO, WARNING or ERROR.")

    def __post_init__(self) -> None:
        host = self.bind.rpartition(":")[0]
        if self.runtime == "kubernetes" and not self.secret_key:
            raise SettingsError("HUB_SECRET_KEY is required with HUB_RUNTIME=kubernetes: replicas must share it.")
        if self.runtime == "kubernetes" and not self.database_url:
            raise SettingsError(
                "HUB_DATABASE_URL is required with HUB_RUNTIME=kubernetes: a private Postgres in a pod is empty after "
                "each restart and knows no session. Set it to the Postgres that all replicas share."
            )
        if self.guests is None:
            object.__setattr__(self, "guests", self.runtime == "local")
        if self.warm_runs and self.runtime != "kubernetes":
            raise SettingsError("HUB_WARM_RUNS needs HUB_RUNTIME=kubernetes: no other runtime keeps runs ready.")
        if self.secret_key and len(self.secret_key) < 32:
            raise SettingsError("HUB_SECRET_KEY is too short: use 32 characters or more, made at random.")
        if self.database_pool < 1:
            raise SettingsError("HUB_DATABASE_POOL takes a whole number, 1 or more.")
        if self.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsError("HUB_LOG_LEVEL takes DEBUG, INFO, WARNING or ERROR.")
        if not 1024 <= self.k8s_port <= 65535:
            raise SettingsError("HUB_K8S_PORT takes a port from 1024 to 65535: sessions do not run as root.")
        if self.k8s_home == "shared" and not self.k8s_home_claim:
            raise SettingsError("HUB_K8S_HOME=shared needs HUB_K8S_HOME_CLAIM, the claim of the volume with the homes.")
        if self.k8s_cpu_request > self.k8s_cpu:
            raise SettingsError("HUB_K8S_CPU_REQUEST is above HUB_K8S_CPU, the most that a session may use.")
        for name in ("memory", "tmp_size", "home_size"):
            if getattr(self, f"k8s_{name}") < 1 << 20:
                raise SettingsError(f"HUB_K8S_{name.upper()} takes a size of 1M or more.")
        for name in (
            "idle_timeout",
            "max_age",
            "start_timeout",
            "login_lifetime",
            "guest_lifetime",
            "k8s_scheduling_timeout",
        ):
            if getattr(self, name) <= timedelta(0):
                raise SettingsError(f"HUB_{name.upper()} takes a length of time above zero.")
        if not self.public_url:
            shown = host if host not in ("0.0.0.0", "[::]") else "127.0.0.1"  # noqa: S104  (compared, not bound)
            object.__setattr__(self, "public_url", f"http://{shown}:{self.bind.rpartition(':')[2]}")

    @property
    def guest_share(self) -> int:
        """Number of guests that may come from one address."""
        return self.guests_per_address or max(1, self.max_guests // 3)

    @property
    def prints_links(self) -> bool:
        """Whether login links may be printed. On a cluster they would be in a log that others read."""
        return self.runtime == "local"

    @property
    def mails_links(self) -> bool:
        """Whether people can ask for a login link: it is mailed, or else printed."""
        return bool(self.smtp_url) or self.prints_links

    def reaches_home(self, *, guest: bool) -> bool:
        """Whether the Hub itself has a person's files at hand, to show them, take uploads and open them in a session."""
        return self.runtime == "local" or (self.k8s_home == "shared" and not guest)

    @property
    def max_home(self) -> int | None:
        """Bytes that a home may hold before the Hub refuses uploads; None where a volume or a disk sets the limit."""
        return self.k8s_home_size if self.runtime == "kubernetes" and self.k8s_home == "shared" else None

    def keeps_home(self, *, guest: bool) -> bool:
        """Whether files that a person saved in a session are still there when it has stopped."""
        return self.runtime == "local" or (self.k8s_home != "emptydir" and not guest)

    @property
    def loopback_only(self) -> bool:
        """Whether only this machine can reach the Hub."""
        return _is_loopback(self.bind.rpartition(":")[0].strip("[]"))

    @property
    def exposed(self) -> bool:
        """Whether others than this machine's own users may reach the Hub: directly, or through a proxy in front."""
        public = urlsplit(self.public_url).hostname or ""
        return not self.loopback_only or not _is_loopback(public) or self.trusted_proxies > 0

    @property
    def secure(self) -> bool:
        """Whether people reach the Hub over TLS (so that cookies may be marked Secure)."""
        return self.public_url.startswith("https://")

    @property
    def gotty_path(self) -> str | None:
        """GoTTY's path, or None where the agent plays its part."""
        if self.gotty == "none":
            return None
        if self.gotty and not shutil.which(self.gotty):
            raise SettingsError(f"HUB_GOTTY: no program at {self.gotty}. Give GoTTY's path, or `none`.")
        return shutil.which(self.gotty or "gotty")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Self:
        """Read the environment and `.env`. Raises SettingsError naming each bad or unknown setting."""
        values: dict[str, str | None] = {}
        path = env_file if env_file is not None else Path(".env")
        if path.is_file():
            values.update(dotenv_values(path))
        values.update(os.environ if environ is None else environ)
        known = {f"HUB_{option.name.upper()}": option for option in fields(cls)}
        chosen: dict[str, Any] = {}
        problems: list[str] = []
        for name, raw in sorted(values.items()):
            if not name.startswith("HUB_"):
                continue
            option = known.get(name)
            if option is None:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                problems.append(f"{name} is not a setting." + (f" Did you mean {near[0]}?" if near else ""))
                continue
            text = (raw or "").strip()
            if not text:
                continue
            try:
                chosen[option.name] = option.metadata["cast"](text)
            except ValueError as error:
                # What has an @ in it is an address that may hold a password, and this goes to the log.
                problems.append(f"{name} {error}" + ("." if "@" in text else f"; it is {text!r}."))
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**chosen)


def load_secret_key(settings: Settings) -> str:
    """The key that signs logins: the setting, or one made at random and kept in the data folder (mode 0600)."""
    if settings.secret_key:
        return settings.secret_key
    path = settings.data_dir / "secret_key"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
            # Several processes may start at once; the lock goes when the file is closed, with the key written.
            fcntl.flock(file, fcntl.LOCK_EX)
            key = file.read().strip()
            if not key:
                key = secrets.token_urlsafe(48)
                file.write(key)
            return key
    except OSError as error:
        raise data_folder_unusable(settings, error) from error


def data_folder_unusable(settings: Settings, error: OSError) -> SettingsError:
    return SettingsError(
        f"HUB_DATA_DIR={settings.data_dir}: {(error.strerror or str(error)).lower()} ({error.filename or 'data folder'}). "
        "Choose a folder that the Hub's user can write to."
    )
