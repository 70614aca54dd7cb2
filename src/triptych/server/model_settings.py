"""The models that a server offers, as they are written in its settings: the tables [[models]]."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from .. import embedded
from ..engine.config import DeviceChoice, PrecisionChoice, PreprocessChoice
from ..engine.errors import TriptychError
from ..models import identify
from .accounts.cost import Price
from .price_settings import read_price, told, written
from .setting_kinds import KEY, NAME, SIZE, SWITCH, TEXT, Kind, Place, SettingsError, choice, listed, whole, write_size

UpstreamKind = Literal["auto", "openai", "vllm", "sglang", "triptych"]

TEMPLATES = ("vicuna", "vicuna_v1", "mistral")
# A whole template cannot be shown in a line.
_LONGEST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Upstream:
    """An OpenAI-compatible server that answers for a model.

    `base_url` has no final slash; `model` is what the model is called there. `key` is what is sent as bearer, "" for
    none; `key_env` is the variable that it was read from, if it was. `kind` is what server it is, which decides what is
    asked of it beyond OpenAI's API; with "auto" its list of models tells.
    """

    base_url: str
    model: str
    key: str = field(default="", repr=False)
    key_env: str = ""
    kind: UpstreamKind = "auto"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One served model: run here, or at `upstream`.

    `name` and `aliases` are what callers write; `model` is an embedded name, a folder or a hub id ("" with `upstream`);
    `options` are those fields of `EngineConfig` that were set. `preload` loads it when the server starts. `price` is
    what is charged for it, None for what the setting `prices` says.
    """

    name: str
    model: str
    aliases: tuple[str, ...] = ()
    preload: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    upstream: Upstream | None = None
    price: Price | None = None

    def shown(self) -> dict[str, Any]:
        """Everything for JSON, the key only as "set" or "not set"."""
        facts = asdict(self)
        if self.upstream is not None:
            facts["upstream"]["key"] = "set" if self.upstream.key else "not set"
        facts["price"] = None if self.price is None else written(self.price)
        return facts

    def describe(self) -> str:
        """One line for people, without the key."""
        words = [self.name]
        if self.upstream is not None:
            key = " (key set)" if self.upstream.key else ""
            words.append(f"at {self.upstream.base_url}{key} as {self.upstream.model}")
        elif self.model != self.name:
            words.append(f"= {self.model}")
        words += [f"{key}={_brief(key, value)}" for key, value in self.options.items()]
        words += [f"aliases={','.join(self.aliases)}"] if self.aliases else []
        words += ["preload"] if self.preload else []
        words += [f"({told(self.price)})"] if self.price is not None else []
        return " ".join(words)


def _brief(key: str, value: Any) -> str:
    if OPTION_KINDS[key] is SIZE:
        return write_size(value)
    return str(value) if len(str(value)) <= _LONGEST_SHOWN else f"({len(value)} characters)"


def _read_template(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


EMBEDDED_MODELS = tuple(ModelSettings(name, name) for name in embedded.NAMES)

_COMMON_KINDS: dict[str, Kind] = {"name": NAME, "aliases": listed(NAME)}
OPTION_KINDS: dict[str, Kind] = {
    "precision": choice(*get_args(PrecisionChoice)),
    "device": choice(*get_args(DeviceChoice)),
    "threads": whole(1),
    "kv_memory": SIZE,
    "image_memory": SIZE,
    "max_context": whole(1),
    "max_rows": whole(1),
    "token_budget": whole(1),
    "prefix_cache": SWITCH,
    "preprocess": choice(*get_args(PreprocessChoice)),
    "chat_template": Kind("a name, a file or Jinja source", _read_template),
}
UPSTREAM_KINDS: dict[str, Kind] = {
    "base_url": TEXT, "model": TEXT, "key": KEY, "key_env": TEXT, "kind": choice(*get_args(UpstreamKind)),
}  # fmt: skip
LOCAL_KINDS: dict[str, Kind] = {"model": TEXT, "preload": SWITCH, **OPTION_KINDS}
MODEL_KEYS = (*_COMMON_KINDS, *LOCAL_KINDS, "upstream", "price")


def _parse_models(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [word.strip() for word in text.split(",") if word.strip()]


def _tables(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(each, dict | str) for each in value):
        raise ValueError
    return [_named(each) if isinstance(each, str) else each for each in value]


def _named(word: str) -> dict[str, Any]:
    name, _, model = word.partition("=")
    return {"name": name, "model": model or name}


# A model without options may be a word, NAME or NAME=MODEL; in a variable such words stand between commas.
MODELS = Kind("tables [[models]], each with a name, or words NAME or NAME=MODEL", _tables, _parse_models)


def read_models(place: Place, tables: list[dict[str, Any]], environ: Mapping[str, str]) -> tuple[ModelSettings, ...]:
    """The models in `tables`. Raises SettingsError naming the place, the model and the key."""
    models = tuple(_read_model(place, index, table, environ) for index, table in enumerate(tables))
    owners: dict[str, str] = {}
    for model in models:
        for name in (model.name, *model.aliases):
            if name in owners:
                raise place.error("models", f"have the name {name} twice: of {owners[name]} and of {model.name}")
            owners[name] = model.name
    return models


def _read_model(place: Place, index: int, table: dict[str, Any], environ: Mapping[str, str]) -> ModelSettings:
    prefix = f"models.{table['name']}" if isinstance(table.get("name"), str) else f"models[{index}]"
    place.reject_unknown(table, MODEL_KEYS, f"{prefix}.")
    if "name" not in table:
        raise place.error(prefix, "needs a name")
    kinds = {**_COMMON_KINDS, **LOCAL_KINDS}
    found = {key: place.read(f"{prefix}.{key}", kinds[key], each) for key, each in table.items() if key in kinds}
    if "price" in table:
        found["price"] = read_price(place, f"{prefix}.price", table["price"])
    if "upstream" in table:
        if local := next((key for key in table if key in LOCAL_KINDS), None):
            raise place.error(f"{prefix}.{local}", "is for models that run here, but this one has an upstream")
        found["upstream"] = _read_upstream(place, f"{prefix}.upstream", table["upstream"], found["name"], environ)
        return ModelSettings(**found, model="")
    options = {key: found.pop(key) for key in OPTION_KINDS if key in found}
    if "chat_template" in options:
        options["chat_template"] = _template(place, f"{prefix}.chat_template", options["chat_template"])
    found["model"] = _model(place, f"{prefix}.model", found.get("model", found["name"]))
    return ModelSettings(**found, options=options)


def _model(place: Place, key: str, model: str) -> str:
    """What `model` stands for: a folder beside the file that names it, or else as it is."""
    folder = place.folder / Path(model).expanduser()
    if model not in embedded.NAMES and folder.is_dir():
        return str(folder)
    try:
        return identify(model).name
    except TriptychError as error:
        raise place.error(key, f"cannot be used: {error}") from None


def _template(place: Place, key: str, template: str) -> str:
    """A built-in template's name, or Jinja source, which may be in a file beside the settings."""
    if template in TEMPLATES or "{" in template:
        return template
    try:
        return (place.folder / Path(template).expanduser()).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        problem = f"must be one of {', '.join(TEMPLATES)}, Jinja source or a file, not {template!r} ({reason})"
        raise place.error(key, problem) from None


def _read_upstream(place: Place, prefix: str, value: Any, name: str, environ: Mapping[str, str]) -> Upstream:
    if not isinstance(value, dict):
        raise place.error(prefix, "must be a table with a base_url")
    place.reject_unknown(value, UPSTREAM_KINDS, f"{prefix}.")
    found = {
        # A URL may hold a password where it should not.
        key: place.read(f"{prefix}.{key}", UPSTREAM_KINDS[key], each, secret=key in ("key", "base_url"))
        for key, each in value.items()
    }
    found["base_url"] = _base_url(place, f"{prefix}.base_url", found.get("base_url", ""))
    if "key_env" in found:
        if "key" in found:
            raise place.error(prefix, "has both key and key_env: leave one out")
        found["key"] = _key_from(place, f"{prefix}.key_env", found["key_env"], environ)
    return Upstream(**{"model": name, **found})


def _base_url(place: Place, key: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise place.error(key, "must be a URL such as http://localhost:8001/v1")
    if parts.username or parts.password:
        raise place.error(key, "must hold no password: use key or key_env")
    return url.rstrip("/")


def _key_from(place: Place, key: str, variable: str, environ: Mapping[str, str]) -> str:
    try:
        return str(KEY.read(environ.get(variable, "")))
    except ValueError:
        raise SettingsError(f"{place.name}: {key} names {variable}, a variable that holds no key") from None
