"""Loading: damaged and wrong files, one copy of the weights, progress, precisions."""

from __future__ import annotations

import json
import logging
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import edit_config, make_llama, make_llava15, make_llava16, make_mixtral
from safetensors.torch import load_file, save_file
from stepping import Stepper

from triptych.engine.checkpoints import assembly
from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.checkpoints.loader import Model, find_tensors, load_model
from triptych.engine.checkpoints.weight_reader import WeightReader
from triptych.engine.errors import CheckpointError, UnsupportedModelError

SINGLE = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama"), tokenizer=False)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "llama"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "sharded", tokenizer=False, max_shard_size="100KB")


def load(folder: Path, precision: Any = "fp32", **options: Any) -> Model:
    return load_model(folder, ModelConfig.from_folder(folder), precision, "cpu", **options)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / SINGLE)
    change(tensors)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / SINGLE)


def refused(folder: Path, message: str, kind: type[Exception] = CheckpointError) -> None:
    with pytest.raises(kind, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_no_weights(folder: Path) -> None:
    (folder / SINGLE).unlink()
    refused(folder, r"no weights \(model.safetensors or model.safetensors.index.json\)")


def test_only_pickled_weights(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    refused(folder, r"only pickled weights .* take a copy in safetensors", UnsupportedModelError)


def test_missing_shard(sharded: Path) -> None:
    shards = sorted(sharded.glob("model-*"))
    shards[1].unlink()
    refused(sharded, rf"1 of {len(shards)} shards missing, first {shards[1].name}")


def test_damaged_index(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    refused(sharded, r"names no shards in its own folder")
    index.write_text("{}")
    refused(sharded, r"not a safetensors index")


def test_truncated_file(folder: Path) -> None:
    content = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(content[:-1])
    refused(folder, rf"truncated: {len(content) - 1} bytes of {len(content)}; download it again")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 5) + b"{{{{{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 63) + b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}  ' + bytes(4),
        struct.pack("<Q", 64) + b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}   ' + bytes(4),
    ],
)
def test_files_that_are_no_safetensors(content: bytes, folder: Path) -> None:
    (folder / SINGLE).write_bytes(content)
    refused(folder, r"model.safetensors: not a safetensors file .*download it again")


def test_wrong_shape(folder: Path) -> None:
    edit_config(folder, intermediate_size=100)
    refused(folder, r"mlp.gate_proj.weight has shape \[96, 64\], config.json asks for \[100, 64\]")


def test_missing_and_unexpected_tensors(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)
    refused(folder, r"9 of 30 tensors missing, first language_model.layers.2.input_layernorm.weight")
    edit_config(folder, num_hidden_layers=1)
    refused(folder, r"9 tensors that config.json does not explain, first language_model.layers.1")


def test_one_weight_under_two_names(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"language_model.lm_head.weight": tensors["lm_head.weight"]}))
    refused(folder, r"lm_head.weight are the same weight")


def test_tensor_types_that_are_not_read(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["lm_head.weight"].double()}))
    refused(folder, r"lm_head.weight is stored as F64; only floats of 16 and 32 bits are read")


def test_the_stored_type_is_read_from_the_files(folder: Path) -> None:
    edit_config(folder, dtype="bfloat16")
    assert ModelConfig.from_folder(folder).dtype == "float32"


def test_dead_tower_layers_are_not_read(tmp_path: Path) -> None:
    folder = make_llava15(tmp_path, tokenizer=False)
    names = find_tensors(folder, ModelConfig.from_folder(folder))
    assert any(name.startswith("vision_tower.encoder.layers.1.") for name in names)
    assert not any("encoder.layers.2." in name or "post_layernorm" in name for name in names)


@pytest.mark.parametrize("make", [make_llama, make_llava16, make_mixtral])
def test_progress_counts_every_used_byte_once(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(tmp_path, tokenizer=False, max_shard_size="90KB")
    told: list[tuple[int, int]] = []
    model = load(folder, progress=lambda done, total: told.append((done, total)))
    used = find_tensors(folder, model.config)
    total = sum(tensor.nbytes for tensor in used.values())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert model.nbytes == total


def test_tied_heads_are_stored_once(tmp_path: Path) -> None:
    folder = make_llama(tmp_path, tokenizer=False, text={"tie_word_embeddings": True})
    model = load(folder)
    assert model.nbytes == sum(tensor.nbytes for tensor in find_tensors(folder, model.config).values())


@pytest.mark.parametrize("make", [make_llama, make_mixtral])
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.1), ("int8", 0.1), ("w8a8", 0.2), ("int4", 0.6)])
def test_precisions_stay_near_the_exact_logits(
    make: Callable[..., Path], precision: str, tolerance: float, tmp_path: Path
) -> None:
    folder = make(tmp_path, tokenizer=False, dtype=torch.bfloat16)
    ids = torch.randint(3, 300, (24,), generator=torch.Generator().manual_seed(0))
    exact, rough = Stepper(load(folder)).step({0: ids}), load(folder, precision)
    error = (Stepper(rough).step({0: ids}) - exact).abs()
    assert float(error.median()) < tolerance * float(exact.std())


@pytest.mark.parametrize("make", [make_llama, make_mixtral])
@pytest.mark.parametrize("precision", ["int8", "int4", "w8a8"])
def test_quantised_weights_come_from_the_cache_the_second_time(
    make: Callable[..., Path], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "model", tokenizer=False, layout="v5-raw")
    ids = torch.randint(3, 300, (24,), generator=torch.Generator().manual_seed(0))
    options = {"cache_dir": tmp_path / "cache", "compute_dtype": torch.float32}
    first = Stepper(load(folder, precision, **options)).step({0: ids})

    monkeypatch.setattr(assembly, "convert", None)  # quantising again would fail
    told: list[tuple[int, int]] = []
    second = load(folder, precision, **options, progress=lambda done, total: told.append((done, total)))
    assert torch.equal(Stepper(second).step({0: ids}), first)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("layout", ["v5", "v5-raw"])
@pytest.mark.parametrize("make", [make_llama, make_mixtral])
def test_a_model_that_is_packed_later_answers_the_same(
    make: Callable[..., Path], layout: str, stored: torch.dtype, tmp_path: Path
) -> None:
    folder = make(tmp_path, tokenizer=False, dtype=stored, layout=layout)
    ids = torch.randint(3, 300, (24,), generator=torch.Generator().manual_seed(0))
    packed, late = load(folder, "bf16"), load(folder, "bf16", pack=False)
    assert not packed.unpacked
    before = Stepper(late).step({0: ids})
    count = len(late.unpacked)
    while late.pack(seconds=0.0001):
        assert len(late.unpacked) < count
        count = len(late.unpacked)
    after = Stepper(late).step({0: ids})
    assert torch.equal(after, Stepper(packed).step({0: ids}))
    assert float((before - after).abs().median()) < 0.05


def test_a_tower_starts_from_its_files_too(tmp_path: Path) -> None:
    folder = make_llava16(tmp_path, tokenizer=False)
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    late, packed = load(folder, pack=False).llava, load(folder).llava
    assert late is not None
    assert packed is not None
    assert torch.allclose(late.encode(pixels), packed.encode(pixels), atol=1e-5)


def test_fp16_weights_in_bf16_are_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_llama(tmp_path, tokenizer=False, dtype=torch.float16)
    with caplog.at_level(logging.INFO, logger="triptych"):
        model = load(folder, "bf16")
    assert model.dtype == torch.bfloat16
    assert "fp16 weights computed in bf16: about 8" in caplog.text
    assert "precision fp32 keeps them" in caplog.text


def test_weights_that_are_let_go_are_not_resident(tmp_path: Path) -> None:
    size = 64 << 20
    header = json.dumps({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    file = tmp_path / SINGLE
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    from triptych.engine.checkpoints.shards import stored_tensors

    reader = WeightReader(stored_tensors(tmp_path))
    before = resident()
    tensor = reader.take("a")
    assert float(tensor.sum()) == 0
    during = resident()
    del tensor
    assert during - before > size // 2
    assert resident() - before < size // 4


def resident() -> int:
    """Bytes of this process in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
