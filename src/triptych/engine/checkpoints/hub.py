"""Checkpoints from a Hugging Face hub: only the files the engine reads, resumable, into the hub's usual cache.

The cache has the layout of huggingface_hub (blobs, snapshots, refs), so that checkpoints fetched by other tools
are used and ours are seen by them. The bytes are fetched by `transfer`: huggingface_hub 2 starts a file again
from nothing when its process dies, and files here are gigabytes.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import CheckpointError, DownloadError, UnsupportedModelError
from .checkpoint import ModelConfig
from .shards import SINGLE, shard_files
from .transfer import Transfer, fetch

ProgressCallback = Callable[[int, int], None]
WORKERS = 4
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SMALL = re.compile(r"[^/]+\.(json|jinja)|tokenizer\.model")
_PICKLED = re.compile(r"[^/]+\.(bin|pt|pth|gguf)")
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; `checksum` (SHA-256, or git's SHA-1 with `git`) names it in the cache."""

    name: str
    size: int
    checksum: str
    git: bool


def download(
    repo_id: str,
    revision: str | None = None,
    progress: ProgressCallback | None = None,
    *,
    refresh: bool = False,
    cache_dir: str | Path | None = None,
) -> Path:
    """The folder of the checkpoint `repo_id` ("owner/name"), fetched as far as it is not in the cache.

    A complete checkpoint in the cache is returned without touching the network, unless `refresh` asks whether
    there is a newer one. `progress(done, total)` is told bytes, from several threads but never at once.
    HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
    Raises DownloadError, and UnsupportedModelError before anything big is fetched.
    """
    repo = _Repository.at(repo_id, revision, cache_dir)
    present = repo.cached()
    if present is not None and not refresh:
        return present
    try:
        commit, files = repo.listing()
    except DownloadError:
        if present is not None:
            return present
        raise
    return repo.fetch(commit, needed_files(files, repo_id), progress)


def download_config(repo_id: str, revision: str | None = None, *, cache_dir: str | Path | None = None) -> Path:
    """Like `download`, but when the checkpoint is not in the cache only its small files are fetched: no weights."""
    repo = _Repository.at(repo_id, revision, cache_dir)
    present = repo.cached()
    if present is not None:
        return present
    commit, files = repo.listing()
    small = [file for file in needed_files(files, repo_id) if not file.name.endswith(".safetensors")]
    return repo.fetch(commit, small, None)


def needed_files(files: Iterable[HubFile], repo_id: str) -> list[HubFile]:
    """Configs, tokenizer and one set of safetensors, small ones first; never pickled or original-format files.

    Raises UnsupportedModelError when there are weights, but none in safetensors.
    """
    files = list(files)
    single = [file for file in files if file.name == SINGLE]
    weights = single or [file for file in files if _SHARD.fullmatch(file.name)]
    if not weights:
        pickled = [file.name for file in files if _PICKLED.fullmatch(file.name)]
        hint = f" (only {pickled[0]} and the like)" if pickled else ""
        raise UnsupportedModelError(
            f"{repo_id} has no safetensors weights{hint}; take a copy of the model in safetensors"
        )
    return [file for file in files if _SMALL.fullmatch(file.name)] + weights


@dataclass(frozen=True, slots=True)
class _Repository:
    """One revision of one repository and its place in the cache."""

    repo_id: str
    revision: str
    endpoint: str
    cache: Path

    @classmethod
    def at(cls, repo_id: str, revision: str | None, cache_dir: str | Path | None) -> _Repository:
        from huggingface_hub import constants

        endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
        return cls(repo_id, revision or "main", endpoint, Path(cache_dir or constants.HF_HUB_CACHE).expanduser())

    @property
    def storage(self) -> Path:
        return self.cache / f"models--{self.repo_id.replace('/', '--')}"

    def cached(self) -> Path | None:
        """The snapshot folder, if everything the engine reads is in it."""
        commit = self.revision
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (self.storage / "refs" / self.revision).read_text().strip()
            except OSError:
                return None
        folder = self.storage / "snapshots" / commit
        tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model"))
        try:
            return folder if tokenizer and (folder / "config.json").exists() and shard_files(folder) else None
        except CheckpointError:
            return None

    def listing(self) -> tuple[str, list[HubFile]]:
        """(commit, files) as the hub has them now."""
        from huggingface_hub import HfApi
        from huggingface_hub import errors as hub_errors

        try:
            info = HfApi(endpoint=self.endpoint).model_info(
                self.repo_id, revision=self.revision, files_metadata=True, timeout=20
            )
        except hub_errors.GatedRepoError as error:
            raise DownloadError(
                f"{self.repo_id} is gated: accept its licence at {self.endpoint}/{self.repo_id} and set HF_TOKEN"
            ) from error
        except hub_errors.RevisionNotFoundError as error:
            raise DownloadError(f"{self.repo_id} has no revision {self.revision!r}") from error
        except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
            raise DownloadError(
                f"{self.repo_id}: not found on {self.endpoint}; check the name, or set HF_TOKEN if it is private"
            ) from error
        except Exception as error:  # the hub's HTTP library changes between versions, and so do its errors
            raise DownloadError(
                f"{self.repo_id}: not in the cache, and {self.endpoint} cannot be reached ({_reason(error)}); "
                "connect and run it again, or give a checkpoint folder"
            ) from error
        if not _COMMIT.fullmatch(info.sha or ""):
            raise DownloadError(f"{self.endpoint} does not speak the hub's protocol (no commit in its answer)")
        return str(info.sha), [_hub_file(sibling) for sibling in info.siblings or ()]

    def fetch(self, commit: str, files: list[HubFile], progress: ProgressCallback | None) -> Path:
        """Everything of `files` into the snapshot of `commit`; config.json is judged before weights come."""
        folder = self.storage / "snapshots" / commit
        folder.mkdir(parents=True, exist_ok=True)
        (self.storage / "blobs").mkdir(exist_ok=True)
        self._check_space(folder, files)
        meter = _Meter(sum(file.size for file in files), progress)
        small = [file for file in files if not file.name.endswith(".safetensors")]
        self._fetch_all(commit, small, meter)
        ModelConfig.from_folder(folder)
        self._fetch_all(commit, [file for file in files if file not in small], meter)
        if not _COMMIT.fullmatch(self.revision):
            reference = self.storage / "refs" / self.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(commit)
        return folder

    def _check_space(self, folder: Path, files: list[HubFile]) -> None:
        blobs = self.storage / "blobs"
        missing = 0
        for file in files:
            if not (folder / file.name).exists():
                partial = blobs / f"{file.checksum}.incomplete"
                missing += file.size - (partial.stat().st_size if partial.exists() else 0)
        free = shutil.disk_usage(blobs).free
        if missing > free:
            raise DownloadError(
                f"{self.repo_id} needs {missing / 1e9:.1f} GB more in {self.cache}, {free / 1e9:.1f} GB are free; "
                "free some space or set HF_HOME to another disk"
            )

    def _fetch_all(self, commit: str, files: list[HubFile], meter: _Meter) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            running = [pool.submit(self._fetch_file, commit, file, meter) for file in files]
            try:
                for future in running:
                    future.result()
            except BaseException:
                meter.stop()
                for future in running:
                    future.cancel()
                raise

    def _fetch_file(self, commit: str, file: HubFile, meter: _Meter) -> None:
        from huggingface_hub.utils import WeakFileLock, build_hf_headers

        pointer = self.storage / "snapshots" / commit / file.name
        blob = self.storage / "blobs" / file.checksum
        lock = self.cache / ".locks" / self.storage.name / f"{file.checksum}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if pointer.exists() or blob.exists():
                meter.add(file.size)
            else:
                path = f"{self.repo_id}/resolve/{commit}/{quote(file.name)}"
                transfer = Transfer(f"{self.endpoint}/{path}", blob, file.size, file.checksum, file.git)
                fetch(transfer, build_hf_headers(), meter.add)
            if not pointer.exists():
                _point(pointer, blob)


class _Meter:
    """Adds up the bytes of all threads and tells the callback; `stop` makes the threads give up."""

    def __init__(self, total: int, progress: ProgressCallback | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._stopped = False
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._stopped:
            raise DownloadError("download stopped; run it again to resume")
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._total)

    def stop(self) -> None:
        self._stopped = True


def _hub_file(sibling: Any) -> HubFile:
    lfs = sibling.lfs
    checksum = lfs.sha256 if lfs is not None else sibling.blob_id
    if not _CHECKSUM.fullmatch(checksum or ""):  # it becomes a file name, so it is not taken on trust
        raise DownloadError(f"the hub's listing has no checksum for {sibling.rfilename}")
    return HubFile(sibling.rfilename, lfs.size if lfs is not None else sibling.size or 0, checksum, lfs is None)


def _point(pointer: Path, blob: Path) -> None:
    """The snapshot's name for a blob: a relative link, or the file itself where links are not possible."""
    try:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        blob.replace(pointer)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
