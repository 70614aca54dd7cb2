"""Quantised weights in a file of their own: made once, mapped afterwards.

The file is ordinary safetensors, one per checkpoint and kind of quantisation. Its metadata says what it was made
from (`source`: a digest of the checkpoint files' names, sizes, times and tensor tables), by which version of this
code (`version`), and in which format each matrix is (`matrices`). A file is used only if all of that fits; its name
is never trusted. It is written to a temporary file first and renamed when complete.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..config import Precision
from ..errors import CheckpointError
from ..ops.linear import storable, storage_layout
from ..ops.packed import Weights
from .shards import StoredTensor
from .weight_reader import let_go

# Raise it whenever the same checkpoint would be quantised to other bytes.
VERSION = "1"
# Matrices are written while they are made, when the header's final length is unknown: room for it is left, and
# filled up with spaces, as the format allows. Mixtral 8x22B, with 1,900 matrices, needs a third of it.
HEADER_BYTES = (1 << 20) - 8  # so that the data begins at a page
ALIGNMENT = 64
_NAMES = {torch.int8: "I8", torch.uint8: "U8", torch.bfloat16: "BF16", torch.float32: "F32"}
_TYPES = {name: dtype for dtype, name in _NAMES.items()}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

MakeWeights = Callable[[], Weights]


class QuantStore:
    """Quantised matrices by name: from the cache file if there is a good one, else made, and kept for next time.

    Use it as a context manager around loading; the file appears when that succeeds and not otherwise. Without a
    `folder` nothing is kept. Raises CheckpointError when the file cannot be written; nothing is left of it then.
    """

    def __init__(self, folder: Path | None, stored: Mapping[str, StoredTensor], precision: Precision) -> None:
        self._identity = _identity(stored, precision)
        self._path: Path | None = None
        self._reader: _Reader | None = None
        self._writer: _Writer | None = None
        if folder is not None:
            self._path = folder / (_file_name(stored, self._identity) + ".safetensors")
            self._reader = _Reader.open(self._path, self._identity)

    @property
    def cached(self) -> bool:
        """Whether there is a file from which `matrix` is served."""
        return self._reader is not None

    def matrix(self, name: str, make: MakeWeights) -> Weights:
        """The matrix called `name`; `make` quantises it from the checkpoint when there is no file."""
        if self._reader is not None:
            return self._reader.matrix(name)
        weights = storable(make())
        if self._writer is not None:
            self._writer.add(name, weights)
        return weights

    def __enter__(self) -> QuantStore:
        if self._path is not None and self._reader is None:
            self._writer = _Writer(self._path, self._identity)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            if error is None:
                self._writer.commit()
            else:
                self._writer.discard()


def _identity(stored: Mapping[str, StoredTensor], precision: Precision) -> dict[str, str]:
    """What must be equal for a file to be used. int8 and w8a8 differ in activations only and share a file."""
    digest = blake2b(digest_size=16)
    for file in sorted({tensor.file for tensor in stored.values()}):
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    for name, tensor in sorted(stored.items()):
        place = (name, tensor.file.name, tensor.dtype, tensor.shape, tensor.begin, tensor.end)
        digest.update(repr(place).encode())
    kept = "int8" if precision == "w8a8" else precision
    return {"source": digest.hexdigest(), "version": VERSION, "precision": kept, "layout": storage_layout(kept)}


def _file_name(stored: Mapping[str, StoredTensor], identity: dict[str, str]) -> str:
    folder = next(iter(stored.values())).file.parent.name
    model = "".join(c if c.isalnum() or c in "-._" else "_" for c in folder)[:60]
    whole = blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"{model}-{identity['precision']}-{whole}"


class _Reader:
    """A complete file, mapped."""

    def __init__(self, mapped: mmap.mmap, header: dict[str, Any], base: int) -> None:
        self._mapped = mapped
        self._header = header
        self._base = base
        self._matrices: dict[str, list[Any]] = json.loads(header["__metadata__"]["matrices"])

    @classmethod
    def open(cls, path: Path, identity: dict[str, str]) -> _Reader | None:
        """None unless the file is there, whole, and made from the same weights by the same code."""
        try:
            with path.open("rb") as stream:
                length = struct.unpack("<Q", stream.read(8))[0]
                header = json.loads(stream.read(min(length, 100 << 20)))
                # Copy-on-write: torch wants writable memory, nobody writes.
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            metadata = header["__metadata__"]
            end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
            if {key: metadata.get(key) for key in identity} != identity or len(mapped) != 8 + length + end:
                return None
            return cls(mapped, header, 8 + length)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            return None

    def matrix(self, name: str) -> Weights:
        if name not in self._matrices:
            raise CheckpointError(f"the quantised weights have no matrix {name}; delete the cache folder's files")
        kind, N, K, parts = self._matrices[name]
        return Weights(kind, N, K, {part: self._tensor(f"{name}/{part}") for part in parts})

    def _tensor(self, name: str) -> Tensor:
        entry = self._header[name]
        begin, end = entry["data_offsets"]
        dtype = _TYPES[entry["dtype"]]
        flat = torch.frombuffer(
            self._mapped, dtype=dtype, count=(end - begin) // dtype.itemsize, offset=self._base + begin
        )
        tensor = flat.view(entry["shape"])
        # Once the matrix is packed into oneDNN's blocks, its pages need not stay.
        place = (self._mapped, self._base + begin, self._base + end)
        weakref.finalize(tensor, let_go, *place).atexit = False
        return tensor


class _Writer:
    """A file in the making: data first, behind the room for the header, which is filled in at the end."""

    def __init__(self, path: Path, identity: dict[str, str]) -> None:
        self._path = path
        self._identity = identity
        self._header: dict[str, Any] = {}
        self._matrices: dict[str, list[Any]] = {}
        self._offset = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
            self._part = Path(name)
            self._stream = os.fdopen(handle, "wb")
            self._stream.seek(8 + HEADER_BYTES)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def add(self, name: str, weights: Weights) -> None:
        self._matrices[name] = [weights.format, weights.N, weights.K, list(weights.tensors)]
        for part, tensor in weights.tensors.items():
            self._write(f"{name}/{part}", tensor)

    def commit(self) -> None:
        metadata = {**self._identity, "matrices": json.dumps(self._matrices), "format": "pt"}
        header = json.dumps({"__metadata__": metadata, **self._header}).encode()
        if len(header) > HEADER_BYTES:
            self.discard()
            raise CheckpointError(f"{self._path}: {len(self._matrices)} matrices are more than a cache file lists")
        try:
            self._stream.seek(0)
            self._stream.write(struct.pack("<Q", HEADER_BYTES) + header.ljust(HEADER_BYTES))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._part.replace(self._path)
        except OSError as error:
            self.discard()
            raise _cannot_write(self._path, error) from error

    def discard(self) -> None:
        with suppress(OSError):  # flushing what is thrown away may fail on a full disk
            self._stream.close()
        self._part.unlink(missing_ok=True)

    def _write(self, name: str, tensor: Tensor) -> None:
        flat = tensor.detach().cpu().contiguous().view(-1)
        data = flat.view(torch.uint8).numpy().data
        begin, end = self._offset, self._offset + len(data)
        self._header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        padding = -end % ALIGNMENT
        if padding:  # the format allows no gaps, so they are tensors too
            self._header[f"{name}/padding"] = {
                "dtype": "U8",
                "shape": [padding],
                "data_offsets": [end, end + padding],
            }
        try:
            self._stream.write(data)
            self._stream.write(bytes(padding))
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        self._offset = end + padding


def _cannot_write(path: Path, error: OSError) -> CheckpointError:
    if error.errno in _FULL:
        return CheckpointError(
            f"no space left in {path.parent} for the quantised weights; free some, or set another cache folder"
        )
    return CheckpointError(
        f"{path.parent}: quantised weights cannot be written ({error.strerror}); set another cache folder"
    )
