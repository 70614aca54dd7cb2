"""Which files a model's name stands for: an embedded model, a folder, or a checkpoint on a hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .engine.config import EngineConfig
from .engine.errors import CheckpointError
from .parameters import reject_unknown

DEFAULT_MODEL = "triptych/tiny-llava-1.6"
EXAMPLE_HUB_ID = "llava-hf/llava-v1.6-mistral-7b-hf"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")

ModelKind = Literal["embedded", "folder", "hub"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A name, and where its files are (`folder` is None for a hub checkpoint that was not looked up yet)."""

    name: str
    kind: ModelKind
    folder: Path | None

    @property
    def title(self) -> str:
        """What the model is called in results; of a folder its own name."""
        return self.folder.resolve().name if self.kind == "folder" and self.folder else self.name

    @property
    def hub_id(self) -> str:
        return self.name.partition("@")[0]

    @property
    def revision(self) -> str | None:
        return self.name.partition("@")[2] or None


def identify(model: str | Path) -> ModelSource:
    """Tells embedded names, folders and hub ids apart without touching the network.

    A name that is both a folder here and a possible hub id is the folder. Raises `CheckpointError` naming what
    would have been understood.
    """
    from . import embedded

    name = str(model)
    if name in embedded.NAMES:
        return ModelSource(name, "embedded", Path(embedded.path(name)))
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return ModelSource(name, "folder", folder)
    if folder.is_file():
        raise CheckpointError(f"{name} is a file; a model is the folder that holds config.json and the weights")
    if isinstance(model, str) and _HUB_ID.fullmatch(name) and not name.startswith("triptych/"):
        return ModelSource(name, "hub", None)
    raise CheckpointError(
        f"no model is called {name!r}: use one of {', '.join(embedded.NAMES)}, "
        f"a folder with config.json in it, or a hub id such as {EXAMPLE_HUB_ID}"
    )


def locate(model: str | Path, progress: Callable[..., Any] | None = None) -> ModelSource:
    """Like `identify`, but downloads what is missing, so that `folder` is always set.

    `progress` is handed to the hub's downloader. Raises `CheckpointError` or `DownloadError`.
    """
    source = identify(model)
    if source.folder is not None:
        return source
    from .engine.checkpoints.hub import download

    folder = download(source.hub_id, revision=source.revision, progress=progress)
    return ModelSource(source.name, source.kind, folder)


def engine_config(
    model: str | Path, progress: Callable[..., Any] | None = None, **options: Any
) -> EngineConfig:
    """How an engine runs `model`, its files fetched if need be; `options` are the other fields of `EngineConfig`.

    Raises `CheckpointError`, `DownloadError`, `ParameterError` naming an option that does not exist.
    """
    reject_unknown(options, [item.name for item in fields(EngineConfig) if item.name != "model"], "engine option")
    source = locate(model, progress)
    assert source.folder is not None
    options.setdefault("name", source.title)
    options.setdefault("cache_dir", cache_folder())
    return EngineConfig(model=source.folder, **options)


def cache_folder() -> Path:
    """Where quantised weights are kept: $TRIPTYCH_CACHE, or `.cache/triptych` in the home folder."""
    return Path(os.environ.get("TRIPTYCH_CACHE") or "~/.cache/triptych").expanduser() / "quantised"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A checkpoint that is on this machine. `note` says what keeps it from being used, "" if nothing does."""

    name: str
    architecture: str
    nbytes: int
    folder: Path
    note: str = ""


def embedded_models() -> list[LocalModel]:
    """The packaged demonstration models."""
    from . import embedded

    return [_describe(name, Path(embedded.path(name))) for name in embedded.NAMES]


def cached_hub_models() -> list[LocalModel]:
    """Checkpoints of supported architectures in the hub's cache folder, by name."""
    from .engine.checkpoints.checkpoint import SUPPORTED

    models = []
    for folder in sorted(hub_cache().glob("models--*--*")):
        snapshots = sorted(folder.glob("snapshots/*/config.json"), key=lambda file: file.stat().st_mtime)
        if not snapshots:
            continue
        name = "/".join(folder.name.split("--")[1:3])
        model = _describe(name, snapshots[-1].parent)
        if model.architecture in SUPPORTED:
            models.append(model)
    return models


def hub_cache() -> Path:
    """Where Hugging Face's tools keep downloads: HF_HUB_CACHE, HF_HOME/hub, or below the user's cache folder."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or Path(base) / "huggingface").expanduser() / "hub"


def locate_config(model: str | Path) -> ModelSource:
    """Like `locate`, but of a hub checkpoint that is not here no weights are fetched."""
    source = identify(model)
    if source.folder is not None:
        return source
    from .engine.checkpoints.hub import download_config

    return ModelSource(source.name, source.kind, download_config(source.hub_id, source.revision))


def _describe(name: str, folder: Path) -> LocalModel:
    """Reads config.json only; a folder without a readable one has architecture "unknown"."""
    from .engine.checkpoints.shards import shard_files

    try:
        architecture = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        architecture = "unknown"
    nbytes = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file.exists())
    try:
        complete = all(file.exists() for file in shard_files(folder))
    except CheckpointError:
        complete = False
    return LocalModel(name, architecture, nbytes, folder, "" if complete else "incomplete: pull it again")
