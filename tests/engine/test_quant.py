"""The cache file of quantised weights: made once, used only when it fits, never half there."""

from __future__ import annotations

import errno
import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from triptych.engine.checkpoints import quant
from triptych.engine.checkpoints.quant import QuantStore
from triptych.engine.checkpoints.shards import stored_tensors
from triptych.engine.errors import CheckpointError
from triptych.engine.ops.linear import convert, linear_from

SHAPES = {"a": (64, 96), "b": (17, 33), "c": (128, 64)}


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "small model"
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder, weights


def load(checkpoint, cache, precision="int8"):
    """(matrices, names that were quantised, whether the file was used)."""
    folder, weights = checkpoint
    made = []

    def make(name):
        made.append(name)
        return convert(weights[name], precision)

    with QuantStore(cache, stored_tensors(folder), precision) as store:
        matrices = {name: store.matrix(name, lambda name=name: make(name)) for name in weights}
    return matrices, made, store.cached


def files(cache):
    return sorted(path.name for path in cache.iterdir())


@pytest.mark.parametrize("precision", ["int8", "int4", "w8a8"])
def test_second_load_maps_what_the_first_one_made(checkpoint, tmp_path, precision):
    cache = tmp_path / "cache"
    first, made, cached = load(checkpoint, cache, precision)
    assert (made, cached) == (list(SHAPES), False)
    second, made, cached = load(checkpoint, cache, precision)
    assert (made, cached) == ([], True)
    assert len(files(cache)) == 1
    x = torch.randn(3, 96).bfloat16()
    for name, (_, K) in SHAPES.items():
        assert first[name].format == second[name].format
        for part, tensor in first[name].tensors.items():
            assert torch.equal(tensor, second[name].tensors[part])
        outputs = [linear_from(w, precision=precision)(x[:, :K]) for w in (first[name], second[name])]
        assert torch.equal(*outputs)


def test_the_file_is_ordinary_safetensors_with_metadata(checkpoint, tmp_path):
    load(checkpoint, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        assert {"source", "version", "precision", "layout", "matrices"} <= set(metadata)
        assert metadata["precision"] == "int8"
        assert file.get_tensor("a/weight").shape == SHAPES["a"]


def test_int8_and_w8a8_share_a_file(checkpoint, tmp_path):
    load(checkpoint, tmp_path / "cache", "int8")
    assert load(checkpoint, tmp_path / "cache", "w8a8")[2]
    assert not load(checkpoint, tmp_path / "cache", "int4")[2]


def test_changed_checkpoint_is_quantised_again(checkpoint, tmp_path):
    folder, weights = checkpoint
    load(checkpoint, tmp_path / "cache")
    weights["a"] += 1
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    assert load(checkpoint, tmp_path / "cache")[1] == list(SHAPES)


def test_other_version_is_quantised_again(checkpoint, tmp_path, monkeypatch):
    load(checkpoint, tmp_path / "cache")
    monkeypatch.setattr(quant, "VERSION", "next")
    assert load(checkpoint, tmp_path / "cache")[1] == list(SHAPES)


def test_right_name_with_wrong_metadata_is_not_trusted(checkpoint, tmp_path):
    load(checkpoint, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + quant.HEADER_BYTES])
    header["__metadata__"]["source"] = "0" * 32
    path.write_bytes(data[:8] + json.dumps(header).encode().ljust(quant.HEADER_BYTES) + data[8 + quant.HEADER_BYTES :])
    assert load(checkpoint, tmp_path / "cache")[1] == list(SHAPES)
    assert load(checkpoint, tmp_path / "cache")[2]


@pytest.mark.parametrize("damage", [lambda data: data[:-70], lambda data: b"", lambda data: b"x" * 100])
def test_damaged_file_is_made_again(checkpoint, tmp_path, damage):
    load(checkpoint, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert load(checkpoint, tmp_path / "cache")[1] == list(SHAPES)
    assert load(checkpoint, tmp_path / "cache")[2]


def fail_in_the_middle(checkpoint, cache, spoil):
    folder, weights = checkpoint
    with QuantStore(cache, stored_tensors(folder), "int8") as store:
        store.matrix("a", lambda: convert(weights["a"], "int8"))
        spoil(store)
        store.matrix("c", lambda: convert(weights["c"], "int8"))


def test_nothing_is_left_of_a_load_that_failed(checkpoint, tmp_path):
    def spoil(store):
        raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_middle(checkpoint, tmp_path / "cache", spoil)
    assert files(tmp_path / "cache") == []


class FullDisk:
    """A file that can be written no further, nor closed without complaint."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        self.stream.close()
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["a matrix", "the end"])
def test_full_disk_is_said_in_one_line_and_leaves_nothing(checkpoint, tmp_path, monkeypatch, where):
    def spoil(store):
        if where == "a matrix":
            store._writer._stream = FullDisk(store._writer._stream)
        else:
            monkeypatch.setattr(quant.os, "fsync", FullDisk(None).write)

    with pytest.raises(CheckpointError, match=r"no space left in .*cache") as caught:
        fail_in_the_middle(checkpoint, tmp_path / "cache", spoil)
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "cache") == []


def test_folder_that_cannot_be_written(checkpoint, tmp_path):
    folder, _ = checkpoint
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot be written"):
        QuantStore(tmp_path / "cache", stored_tensors(folder), "int8").__enter__()


def test_without_a_folder_nothing_is_kept(checkpoint, tmp_path):
    before = files(tmp_path)
    assert load(checkpoint, None)[1] == list(SHAPES)
    assert files(tmp_path) == before
