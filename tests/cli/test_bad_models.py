"""Damaged and unsuitable checkpoints, and requests that cannot be: one line, the right exit code, a real engine."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from triptych import embedded
from triptych.cli import main

PICTURE = Path(__file__).parents[2] / "examples/two-shapes.png"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that works; its parts may be broken."""
    target = tmp_path / "model"
    shutil.copytree(embedded.path("triptych/tiny-llava-1.5"), target, copy_function=shutil.copyfile)
    return target


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)


def scramble(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"\xff" * 200)


def lose_a_shard(folder: Path) -> None:
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        names = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    names.pop("__metadata__", None)
    shards = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    weights.rename(folder / "model-00001-of-00002.safetensors")


def shrink(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(folder, text_config={**config["text_config"], "intermediate_size": 64})


def swap_tokenizer(folder: Path) -> None:
    """The tokenizer of the text model alone: it has no image token."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = tokenizer["added_tokens"]
    tokenizer["added_tokens"] = [token for token in added if token["content"] not in ("<image>", "<pad>")]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "config not JSON": (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    "other model": (lambda folder: edit(folder, model_type="qwen2_vl"), "supported are llava, llava_next, llama"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
    "truncated weights": (truncate, "truncated"),
    "corrupt weights": (scramble, "model.safetensors"),
    "missing shard": (lose_a_shard, "model-00002-of-00002.safetensors"),
    "wrong shapes": (shrink, "shape"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "another tokenizer": (swap_tokenizer, "the files do not belong together"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_line(folder, damage, tmp_path):
    spoil, cause = DAMAGES[damage]
    spoil(folder)
    out = tmp_path / "out.jsonl"
    result = run("caption", PICTURE, "--model", folder, "--format", "jsonl", "--out", out, "--kv-memory", "64M")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert cause in result.stderr
    assert "unexpected" not in result.stderr
    assert not out.exists()


def test_a_folder_that_works(folder):
    result = run("caption", PICTURE, "--model", folder, "--max-tokens", "4", "--format", "jsonl", "--kv-memory", "64M")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == "model"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--kv-memory", "1K"], "KV cache"),
        (["--max-context", "100000000"], "max_context"),
        (["--max-context", "16", "-m", "Hello " * 40], "16"),
        (["-m", "Hello " * 5000], "tokens"),
        (["--top-p", "0"], "top_p"),
        (["--image", PICTURE, "--image", __file__], "not an image"),
    ],
)
def test_what_cannot_be_is_one_line(words, cause):
    result = run("chat", "-q", "-m", "Hello", "--model", "triptych/tiny-llava-1.5", "--device", "cpu", *words)
    assert result.exit_code == 1
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert cause in result.stderr
    assert "unexpected" not in result.stderr


def png(width: int, height: int) -> bytes:
    """A file that claims to be a black and white picture of this size."""
    size = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = {b"IHDR": size, b"IDAT": zlib.compress(bytes(64)), b"IEND": b""}
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_a_decompression_bomb_is_refused_and_the_rest_captioned(tmp_path):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000))
    words = ("--max-tokens", "3", "--model", "triptych/tiny-llava-1.5", "--kv-memory", "64M")
    result = run("caption", bomb, PICTURE, *words)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{PICTURE}: ")
    assert result.stderr.startswith(f"error: {bomb}: ")
    assert "pixels" in result.stderr


@pytest.mark.parametrize("precision", ["int8", "int4", "w8a8"])
def test_quantised_weights_are_kept_and_used_again(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    words = ("-m", "What is 1 + 1?", "--model", "triptych/tiny-mixtral", "--precision", precision, "--max-tokens", "4")
    first = run("chat", *words, "--kv-memory", "64M")
    assert first.exit_code == 0, first.stderr
    assert f"(mixtral, {precision} on cpu)" in first.stderr
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert kept
    assert run("chat", *words, "--kv-memory", "64M").stdout == first.stdout


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
    words = ("--model", "triptych/tiny-mixtral", "--precision", "int8", "--kv-memory", "64M")
    result = run("chat", "-q", "-m", "x", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("error: ")
    assert str(tmp_path / "file") in result.stderr
