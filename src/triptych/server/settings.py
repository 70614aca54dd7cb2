"""What a server is told: one TOML file, TRIPTYCH_* variables over it, options of the command over both."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Literal, get_args

from .accounts.cost import PriceMode
from .model_settings import EMBEDDED_MODELS, MODELS, ModelSettings, Upstream, read_models
from .setting_kinds import (
    DATABASE,
    HOST,
    HOST_NAME,
    KEY,
    NETWORK,
    ORIGIN,
    PATH,
    PRICE_LIST,
    SIZE,
    STORAGE,
    SWITCH,
    Kind,
    Place,
    SettingsError,
    choice,
    listed,
    or_none,
    seconds,
    suggestion,
    whole,
)

__all__ = ["ModelSettings", "Settings", "SettingsError", "Upstream", "load", "variable", "written"]

DEFAULT_FILE = Path("triptych.toml")
_PREFIX = "TRIPTYCH_"
# Variables with our prefix that are no settings.
OTHER_VARIABLES = (
    "TRIPTYCH_CONFIG", "TRIPTYCH_MODEL", "TRIPTYCH_CACHE", "TRIPTYCH_DEBUG", "TRIPTYCH_DEMO_ARGS", "TRIPTYCH_URL",
    "TRIPTYCH_API_KEY",
)  # fmt: skip
# What Triptych's own tests are told.
_TESTS = "TRIPTYCH_TEST_"
# Kubernetes tells every container of the services beside it; one called triptych gives TRIPTYCH_PORT=tcp://10.0.0.1:80.
_SERVICE_LINK = re.compile(
    r"TRIPTYCH_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
    r"|TRIPTYCH_(\w+_)?PORT=(tcp|udp|sctp)://.*"
)


def data_folder() -> Path:
    """Where a server keeps its data unless it is told another place."""
    return Path("~/.local/share/triptych").expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server; sizes are in bytes, times in seconds. docs/settings.md explains each.

    `file` is the TOML file that was read; `sources` says of each setting that is not at its default where its value was
    written: a file, a variable, an option. The repr shows no key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[ModelSettings, ...] = EMBEDDED_MODELS
    preload: bool = False
    idle_unload: float | None = None
    memory_limit: int | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    keys_file: Path | None = None
    no_auth: bool = False
    max_body: int = 64 << 20
    max_upload: int = 512 << 20
    max_images: int = 64
    fetch_seconds: float = 10.0
    fetch_bytes: int = 20 << 20
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    webhook_http: bool = False
    max_queue: int = 256
    drain_seconds: float = 30.0
    cors_origins: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_content: bool = False
    data: Path = field(default_factory=data_folder)
    database: str | None = field(default=None, repr=False)
    storage: str | None = None
    retention: float | None = 86_400.0
    prices: PriceMode = "catalogue"
    refresh_prices: float | None = 604_800.0
    price_lists: tuple[str, ...] = ("models.dev", "litellm")
    file: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def source(self, key: str) -> str:
        """Where the value of the setting `key` was written: a file, a variable, an option, or "default"."""
        return self.sources.get(key, "default")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key that is known here: what no log and no page may show."""
        upstream = (model.upstream.key for model in self.models if model.upstream and model.upstream.key)
        return (*self.keys, *upstream)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        if self.host == "localhost":
            return True
        try:
            address = ip_address(self.host)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def binding_error(self) -> SettingsError | None:
        """What is wrong with serving at `host`: others would reach the server, and nobody said who may use it."""
        if self.loopback or self.keys or self.no_auth:
            return None
        return SettingsError(
            f"{self.source('host')}: host {self.host} can be reached from other machines, and there is no key: "
            "make one with `triptych keys create NAME --admin` while this machine alone can reach the server, set keys "
            "(TRIPTYCH_KEYS) or keys_file, or set no_auth (TRIPTYCH_NO_AUTH=true) to let everybody in"
        )

    def shown(self) -> dict[str, Any]:
        """All settings as JSON has them, keys only counted."""
        return {key: _plain(key, getattr(self, key)) for key in KINDS}

    def rows(self) -> list[tuple[str, str, str]]:
        """(setting, value, source) for people, keys only counted; a row for each model."""
        rows = []
        for key in KINDS:
            value = getattr(self, key)
            lines = [model.describe() for model in value] if key == "models" else [written(key, value)]
            rows += [(key, line, self.source(key)) for line in lines]
        return rows


# Every setting, in the order of the documentation.
KINDS: dict[str, Kind] = {
    "host": HOST,
    "port": whole(0, 65535),
    "models": MODELS,
    "preload": SWITCH,
    "idle_unload": or_none(seconds(), "never"),
    "memory_limit": or_none(SIZE, "no limit"),
    "keys": listed(KEY),
    "keys_file": PATH,
    "no_auth": SWITCH,
    "max_body": SIZE,
    "max_upload": SIZE,
    "max_images": whole(1),
    "fetch_seconds": seconds(above=0),
    "fetch_bytes": SIZE,
    "allow_networks": listed(NETWORK),
    "allow_hosts": listed(HOST_NAME),
    "webhook_http": SWITCH,
    "max_queue": whole(1),
    "drain_seconds": seconds(),
    "cors_origins": listed(ORIGIN),
    "log_level": choice("debug", "info", "warning", "error"),
    "log_format": choice("auto", "json", "text"),
    "log_content": SWITCH,
    "data": PATH,
    "database": or_none(DATABASE, "SQLite in the data folder"),
    "storage": or_none(STORAGE, "the data folder"),
    "retention": or_none(seconds(), "never"),
    "prices": choice(*get_args(PriceMode)),
    "refresh_prices": or_none(seconds(above=0), "never"),
    "price_lists": listed(PRICE_LIST),
}
# Their values are never repeated in an error.
_SECRET = ("keys", "models", "database")


def variable(key: str) -> str:
    """The variable of the setting `key`."""
    return _PREFIX + key.upper()


def written(key: str, value: Any) -> str:
    """The value of a setting as people write it, keys only counted and passwords left out."""
    if key == "keys":
        return f"set ({len(value)})" if value else "not set"
    return "none" if value is None else KINDS[key].write(value)


def _plain(key: str, value: Any) -> Any:
    if key == "keys" or (key == "database" and value is not None):
        return written(key, value)
    if key == "models":
        return [model.shown() for model in value]
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def load(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from the file, then the variables over it, then `options` over both.

    The file is `path`, else $TRIPTYCH_CONFIG, else ./triptych.toml if that exists. `environ` is os.environ by default.
    `options` are what a command was given, by setting, as text or as TOML has them; None and () were not given. Raises
    SettingsError naming the setting and the file, variable or option.
    """
    environ = os.environ if environ is None else environ
    file = _file(path, environ)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for place, key, value, text in _written(file, environ, options or {}):
        found = place.read(key, KINDS[key], value, text=text, secret=key in _SECRET)
        values[key] = read_models(place, found, environ) if key == "models" else found
        sources[key] = place.name
    settings = _with_keys_file(Settings(**values, file=file, sources=sources))
    if settings.no_auth and settings.keys:
        where = f"keys ({settings.source('keys')}) and no_auth ({settings.source('no_auth')})"
        raise SettingsError(f"{where} contradict each other: leave one out")
    return settings


def _file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get("TRIPTYCH_CONFIG")
    if named:
        return Path(named).expanduser()
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _written(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any]
) -> Iterator[tuple[Place, str, Any, bool]]:
    """(place, setting, value, whether it is text), later ones going over earlier ones."""
    if file is not None:
        place = Place(str(file), file.parent)
        table = _read_toml(file)
        place.reject_unknown(table, KINDS)
        yield from ((place, key, value, False) for key, value in table.items())
    for name, text in environ.items():
        if not name.startswith(_PREFIX) or name in OTHER_VARIABLES or name.startswith(_TESTS) or not text:
            continue
        if _SERVICE_LINK.fullmatch(name) or _SERVICE_LINK.fullmatch(f"{name}={text}"):
            continue
        key = name.removeprefix(_PREFIX).lower()
        if variable(key) != name or key not in KINDS:
            known = [*map(variable, KINDS), *OTHER_VARIABLES]
            raise SettingsError(f"unknown variable {name}{suggestion(name, known)}")
        yield Place(name), key, text, True
    for key, value in options.items():
        if value is not None and value != ():
            place = Place(f"--{key.replace('_', '-')}")
            place.reject_unknown([key], KINDS)
            yield place, key, value, True


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: the settings cannot be read ({error.strerror})") from None
    except ValueError as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise SettingsError(f"{file}: not valid TOML: {reason}") from None


def _with_keys_file(settings: Settings) -> Settings:
    """With the keys in `keys_file` added: one a line, empty lines and those that begin with # left out."""
    if settings.keys_file is None:
        return settings
    place = Place(str(settings.keys_file))
    try:
        lines = settings.keys_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        where = settings.source("keys_file")
        raise SettingsError(f"{where}: keys_file {settings.keys_file} cannot be read ({reason})") from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    found = [
        place.read(f"line {number}", KEY, line, secret=True) for number, line in numbered if line and line[0] != "#"
    ]
    if not found:
        raise SettingsError(f"{settings.keys_file}: there is no key in this keys_file")
    source = " and ".join([*([settings.source("keys")] if settings.keys else []), str(settings.keys_file)])
    keys = tuple(dict.fromkeys((*settings.keys, *found)))
    return replace(settings, keys=keys, sources={**settings.sources, "keys": source})
