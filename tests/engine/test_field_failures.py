"""What broke other engines in the field, as tests of ours. Each name says what must not happen again.

Sources: vLLM #6176, #6224, #6322, #11704 (image sizes and bad images), #20261, #21016 and SGLang #2151 (one picture
answered with another's cache), vLLM #12973 (memory grows with every picture), SGLang #26650 (slow tokenizer), vLLM
#10971 (one core busy), llama.cpp #5852, #8457 and transformers #30415 (LLaVA 1.6 run as 1.5).
"""

from __future__ import annotations

import base64
import gc
import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tokenizers
import torch
from engines import Gate, Shelf, ask, chat, check_books, memory_for, results, tokens
from picture_files import encoded, noise
from PIL import Image

from triptych.engine.config import EngineConfig
from triptych.engine.engine import Engine
from triptych.engine.errors import ContextOverflowError, ImageError
from triptych.engine.imaging.images import open_image
from triptych.engine.machine import Machine, physical_cores
from triptych.engine.ops.threads import configure_threads
from triptych.engine.request import Prompt
from triptych.engine.sizing import resolve

MODELS = Path(__file__).parents[2] / "src/triptych/embedded/models"
PACKAGED = sorted(folder.name for folder in MODELS.iterdir() if (folder / "model.safetensors").exists())
SIZES = (
    (1, 1), (1, 2), (2, 1), (1, 2000), (2000, 1), (1, 28), (29, 1), (3, 333), (27, 29), (28, 28), (29, 27), (57, 85),
    (101, 97), (640, 17), (17, 640), (335, 337),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["llava15", "llava16"])
def test_any_picture_size_is_answered(kind: str, shelf: Shelf) -> None:
    with shelf.open(kind) as engine:
        prompts = [chat(engine, "what", noise(*size)) for size in SIZES]
        handles = [ask(engine, prompt, max_tokens=3, ignore_eos=True) for prompt in prompts]
        assert [len(tokens(result)) for result in results(handles)] == [3] * len(SIZES)


@pytest.mark.parametrize("preprocess", ["crop", "pad"])
def test_any_picture_size_is_answered_in_both_forms_of_llava_15(preprocess: str, shelf: Shelf) -> None:
    with shelf.open("llava15", preprocess=preprocess) as engine:
        handles = [ask(engine, chat(engine, "what", noise(*size)), max_tokens=1) for size in SIZES]
        assert len(results(handles)) == len(SIZES)


def test_one_bad_picture_never_stops_the_engine(shelf: Shelf) -> None:
    """Refused at the door, or, where only decoding shows it, in its own request; those around it are answered."""
    content = encoded(noise(90, 70), "PNG")
    with shelf.open("llava16") as engine:
        expected = tokens(ask(engine, chat(engine, "what", content), max_tokens=5, ignore_eos=True).result())
        for bad in (b"", b"GIF89a", content[:30], b"\x89PNG\r\n\x1a\n" + bytes(100), content[:-200]):
            with pytest.raises(ImageError):
                ask(engine, chat(engine, "what", bad), max_tokens=5).result()
            again = ask(engine, chat(engine, "what", content), max_tokens=5, ignore_eos=True).result()
            assert tokens(again) == expected


def test_llava_16_never_runs_as_15(shelf: Shelf) -> None:
    """A picture of several tiles costs more tokens than one tile has, and its details change the answer."""
    wide = noise(84, 28)
    detailed = wide.copy()
    detailed.putpixel((80, 20), (0, 0, 0))
    with shelf.open("llava16") as engine:
        prompt = chat(engine, "what", wide)
        assert prompt.image_tokens > 4
        before = engine._loop.runner.tiles_encoded
        first = ask(engine, prompt, max_tokens=1, logprobs=5).result().choices[0].logprobs
        assert engine._loop.runner.tiles_encoded - before == prompt.spans[0].tiles > 1
        second = ask(engine, chat(engine, "what", detailed), max_tokens=1, logprobs=5).result().choices[0].logprobs
        assert first != second


@pytest.mark.parametrize("kind", ["llava15", "llava16"])
def test_two_pictures_never_share_an_entry(kind: str, shelf: Shelf) -> None:
    """Same size, same words, one pixel apart: answers equal those of an engine that has seen nothing."""
    one, other = noise(56, 56), noise(56, 56)
    other.putpixel((30, 30), (0, 0, 0) if one.getpixel((30, 30)) != (0, 0, 0) else (255, 255, 255))
    params = {"max_tokens": 8, "ignore_eos": True, "logprobs": 0}

    def scores(engine: Engine, *pictures: Image.Image) -> list[float]:
        result = ask(engine, chat(engine, "what is it", *pictures), **params).result()
        return [score.logprob for score in result.choices[0].logprobs]

    orders = ((one,), (other,), (one, other), (other, one), (one, one))
    fresh = []
    for pictures in orders:
        with shelf.open(kind) as engine:
            fresh.append(scores(engine, *pictures))
    assert len({tuple(row) for row in fresh}) == len(orders)
    with shelf.open(kind) as engine:
        for _ in range(2):
            for pictures, expected in zip(orders, fresh, strict=True):
                assert scores(engine, *pictures) == pytest.approx(expected, abs=1e-4)


def test_the_same_picture_shares_its_entry_however_it_came(shelf: Shelf, tmp_path: Path) -> None:
    picture = noise(90, 40)
    content = encoded(picture, "PNG")
    file = tmp_path / "picture.png"
    file.write_bytes(content)
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    with shelf.open("llava16") as engine:
        runner = engine._loop.runner
        answers = []
        for number, source in enumerate((file, str(file), content, uri)):
            answers.append(tokens(ask(engine, chat(engine, "what", source), max_tokens=4, ignore_eos=True).result()))
            if not number:
                encoded_once = runner.tiles_encoded
        assert runner.tiles_encoded == encoded_once
        assert all(answer == answers[0] for answer in answers)
        # A Pillow image has no file to hash: its pixels are, and two equal ones share.
        for source in (picture, Image.open(io.BytesIO(content)), picture.copy()):
            answers.append(tokens(ask(engine, chat(engine, "what", source), max_tokens=4, ignore_eos=True).result()))
        assert runner.tiles_encoded == 2 * encoded_once
        assert all(answer == answers[0] for answer in answers)
        assert engine.stats().images_cached == 2


def test_the_same_picture_in_many_requests_at_once_is_encoded_once(shelf: Shelf) -> None:
    with shelf.open("llava15") as engine:
        with Gate(engine):
            prompts = [chat(engine, f"{number}", noise(50, 50)) for number in range(12)]
            handles = [ask(engine, prompt, max_tokens=2) for prompt in prompts]
        results(handles)
        assert engine._loop.runner.tiles_encoded == 1


def resident() -> int:
    """Bytes of this process in memory; at its peak, where the system does not say more."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def test_memory_is_flat_over_a_thousand_pictures(shelf: Shelf) -> None:
    limit, keys_and_values = 200_000, memory_for(shelf["llava15"], 1024)
    with shelf.open("llava15", image_memory=limit, kv_memory=keys_and_values) as engine:

        def show(numbers: range) -> None:
            for start in numbers[::25]:
                pictures = [open_image(noise(100, 80, seed=start + offset)) for offset in range(25)]
                results([ask(engine, chat(engine, "what", picture), max_tokens=1) for picture in pictures])
            gc.collect()

        show(range(150))  # caches and the allocator's pools are full from here on
        before = resident()
        show(range(1000, 2000))
        # The pictures are 24 MB, their inputs 9 MB, their keys and values in the cache would be 40 MB.
        assert resident() - before < 8 << 20
        assert engine.stats().image_bytes <= limit


MANY_SHAPES = """
import sys, torch
from pathlib import Path
from triptych.engine.ops.linear import make_linear
from triptych.engine.ops.threads import configure_threads

configure_threads(1)
linear = make_linear(torch.randn(256, 256), None, precision="bf16", device=torch.device("cpu"))
x, sizes = torch.randn(400, 256, dtype=torch.bfloat16), []
with torch.inference_mode():
    for tokens in range(8, 400):
        linear(x[:tokens])
        if tokens in (150, 399):
            sizes.append(int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) >> 10)
print(sizes[1] - sizes[0])
"""


def test_memory_does_not_grow_with_every_length_of_prompt() -> None:
    """oneDNN would keep half a megabyte for each number of tokens it has met."""
    plain = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    command = [sys.executable, "-c", MANY_SHAPES]
    grown = subprocess.run(command, env=plain, capture_output=True, text=True, check=True, timeout=120).stdout
    assert int(grown) < 80  # MB; 150 without a bound


@pytest.mark.parametrize("model", PACKAGED)
def test_the_tokenizer_is_the_fast_one(model: str) -> None:
    with Engine(EngineConfig(MODELS / model, threads=1)) as engine:
        assert isinstance(engine.tokenizer.backend, tokenizers.Tokenizer)


@pytest.mark.parametrize("model", PACKAGED)
def test_packaged_models_run(model: str) -> None:
    """Streams, pictures, constraints and the books, whatever they have learned by now."""
    with Engine(EngineConfig(MODELS / model, threads=1)) as engine:
        shown = [noise(120, 90)] if engine.info.vision else []
        prompts = [chat(engine, "What is 17 + 25?", *shown) for _ in range(3)]
        for result in results([ask(engine, prompt, max_tokens=6, ignore_eos=True) for prompt in prompts]):
            assert len(tokens(result)) == 6
        again = ask(engine, prompts[0], max_tokens=2).result()
        assert again.usage.cached_tokens == (len(prompts[0].token_ids) - 1) // 16 * 16
        check_books(engine)


def test_all_physical_cores_compute_without_any_setting(shelf: Shelf) -> None:
    before = torch.get_num_threads()
    try:
        configure_threads()
        assert torch.get_num_threads() == physical_cores()
        configure_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)  # Hypothesis, in tests after this one, draws such numbers


def test_a_missing_instruction_set_is_a_decision_and_not_a_crash(shelf: Shelf) -> None:
    """A CPU that does not multiply bf16 computes a checkpoint stored in 16 bits in fp32, and says so."""
    with shelf.open("llama") as engine:
        stored = engine.model_config
    machine = Machine("cpu", "an old CPU", 2, 8 << 30, 8 << 30, fast_bf16=False)
    for dtype in ("float16", "bfloat16"):
        model = SimpleNamespace(**{name: getattr(stored, name) for name in stored.__slots__} | {"dtype": dtype})
        sizing = resolve(EngineConfig(Path("model")), model, machine)  # type: ignore[arg-type]
        assert (sizing.precision, sizing.compute_dtype) == ("fp32", "float32")
        assert any("this CPU" in decision.reason for decision in sizing.decisions)


def test_aborted_and_too_long_requests_leave_nothing_behind(shelf: Shelf) -> None:
    with shelf.open("llava16") as engine:
        for _ in range(3):
            with pytest.raises(ContextOverflowError, match="512"):
                chat(engine, "what " * 400, noise(90, 40))
            with pytest.raises(ContextOverflowError, match="512"):
                ask(engine, Prompt((5,) * 600))
            handles = [
                ask(engine, chat(engine, f"{number}", noise(90, 40 + number)), max_tokens=300, ignore_eos=True)
                for number in range(5)
            ]
            for handle in handles:
                handle.abort()
            results(handles)
            check_books(engine)
        assert engine.stats().counters.aborted == 15
