"""The safetensors files of a checkpoint folder: which tensors they hold, where, and whether they are whole.

Reads headers only, with plain Python: `triptych explain` and the loader's checks cost milliseconds. Format:
8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UnsupportedModelError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_HEADER_LIMIT = 100 << 20
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of one file: `begin` and `end` are byte offsets from the start of `file`."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of the checkpoint in `folder` by the names in its files.

    Raises CheckpointError for a missing, truncated or damaged shard, UnsupportedModelError when there are
    weights, but none in safetensors.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in shard_files(folder):
        for tensor in read_header(file):
            if tensor.name in tensors:
                other = tensors[tensor.name].file.name
                raise CheckpointError(f"{folder}: tensor {tensor.name} is in both {other} and {file.name}")
            tensors[tensor.name] = tensor
    return tensors


def shard_files(folder: Path) -> list[Path]:
    """The files that make up the checkpoint: the single file, or those the index names."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        names = _indexed_files(folder / INDEX)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder}: {len(missing)} of {len(names)} shards missing, first {missing[0]}; download again"
            )
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise UnsupportedModelError(
            f"{folder}: only pickled weights (.bin, .pt), which can run code when opened and are not read; "
            "take a copy in safetensors"
        )
    raise CheckpointError(f"{folder}: no weights ({SINGLE} or {INDEX}); download it again")


def read_header(file: Path) -> list[StoredTensor]:
    """The tensors of one file. Raises CheckpointError if the file is not whole."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = struct.unpack("<Q", stream.read(8))[0]
            if length > min(size, _HEADER_LIMIT):
                raise ValueError("header longer than the file")
            header = json.loads(stream.read(length))
        tensors = [
            _stored(file, name, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"
        ]
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error}); download it again") from error
    end = max((tensor.end for tensor in tensors), default=8 + length)
    if size < end:
        raise CheckpointError(f"{file}: truncated: {size} bytes of {end}; download it again")
    return tensors


def stored_dtype(tensors: dict[str, StoredTensor]) -> str:
    """ "float32", "float16" or "bfloat16": what most bytes of the checkpoint are stored in."""
    counts: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.dtype in _FLOATS:
            counts[_FLOATS[tensor.dtype]] += tensor.nbytes
    return counts.most_common(1)[0][0] if counts else ""


def _indexed_files(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index}: not a safetensors index ({error}); download it again") from error
    outside = [name for name in names if Path(name).name != name]
    if outside or not names:
        raise CheckpointError(f"{index}: names no shards in its own folder; download it again")
    return names


def _stored(file: Path, name: str, entry: dict[str, Any], base: int) -> StoredTensor:
    shape = tuple(int(size) for size in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    items = 1
    for size in shape:
        items *= size
    if begin < 0 or min(shape, default=0) < 0 or end - begin != items * _ITEM_BYTES[entry["dtype"]]:
        raise ValueError(f"{name} has {end - begin} bytes for shape {list(shape)} of {entry['dtype']}")
    return StoredTensor(name, file, entry["dtype"], shape, base + begin, base + end)
