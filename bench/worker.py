"""One engine in a process of its own: reads a case per line (JSON), answers with its seconds and tokens.

python worker.py triptych|transformers FOLDER PRECISION. Used by engine_vs_transformers.py, startup.py and memory.py.
"""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT_TOKENS = 32


def noise_image(seed: int, side: int) -> Any:
    """A picture that no cache has seen: coarse noise."""
    from PIL import Image

    data = random.Random(seed).randbytes(3 * 32 * 32)
    return Image.frombytes("RGB", (32, 32), data).resize((side, side))


def question(seed: int) -> str:
    """Capital letters: one token each in the checkpoints' tokenizer."""
    drawn = random.Random(seed)
    return "".join(drawn.choice(string.ascii_uppercase) for _ in range(TEXT_TOKENS - 3))


def token_ids(seed: int, count: int = TEXT_TOKENS) -> list[int]:
    drawn = random.Random(seed)
    return [1, *(drawn.randrange(3, 259) for _ in range(count - 1))]


class Ours:
    """Triptych, through the engine's own queue."""

    def __init__(self, folder: Path, precision: str) -> None:
        from triptych.engine.config import EngineConfig
        from triptych.engine.engine import Engine

        cache = folder.parent / "quantised"
        self.engine = Engine(EngineConfig(folder, precision=precision, max_rows=8, cache_dir=cache))
        self.count = 0

    def image(self, seed: int, side: int, text: int) -> dict[str, float]:
        """Time to the first token of a question about a picture."""
        from triptych.engine.imaging.images import open_image

        picture = noise_image(seed, side)
        started = time.perf_counter()
        prompt = self.engine.raw_prompt("<image>\n" + question(text), [open_image(picture)])
        self._finish([self._submit(prompt, 1)])
        return {"seconds": time.perf_counter() - started, "tokens": len(prompt.token_ids)}

    def encode(self, seed: int) -> dict[str, float]:
        """One tile through the vision tower and projector."""
        import torch

        pixels = torch.randn(1, 3, 336, 336)
        with torch.inference_mode():
            started = time.perf_counter()
            self.engine._loop.runner.model.llava.encode(pixels)
            return {"seconds": time.perf_counter() - started}

    def settle(self) -> dict[str, float]:
        """Waits until all matrices are in their fastest form, which happens beside the first steps."""
        started = time.perf_counter()
        while self.engine._loop.runner.model.unpacked:
            time.sleep(0.1)
        return {"seconds": time.perf_counter() - started}

    def prefill(self, seed: int, count: int) -> dict[str, float]:
        started = time.perf_counter()
        self._finish([self._submit(self.engine.raw_prompt(token_ids(seed, count)), 1)])
        return {"seconds": time.perf_counter() - started, "tokens": count}

    def decode(self, seed: int, count: int) -> dict[str, float]:
        """From the first token of `count` to the last."""
        (result,) = self._finish([self._submit(self.engine.raw_prompt(token_ids(seed)), count)])
        return {"seconds": result.timing.total - result.timing.first_token, "tokens": count - 1}

    def together(self, seed: int, requests: int, count: int) -> dict[str, float]:
        """`requests` with different prompts at once; the engine runs 8 at a time."""
        started = time.perf_counter()
        prompts = [self.engine.raw_prompt(token_ids(1000 * seed + n)) for n in range(requests)]
        self._finish([self._submit(prompt, count) for prompt in prompts])
        return {"seconds": time.perf_counter() - started, "tokens": requests * count}

    def _submit(self, prompt: Any, count: int) -> Any:
        from triptych.engine.request import Request, SamplingParams

        self.count += 1
        params = SamplingParams(max_tokens=count, min_tokens=count, ignore_eos=True)
        return self.engine.submit(Request(f"bench-{self.count}", prompt, params))

    def _finish(self, handles: list[Any]) -> list[Any]:
        return [handle.result() for handle in handles]

    def close(self) -> None:
        self.engine.close()


class Theirs:
    """transformers: eager, SDPA, static batches."""

    def __init__(self, folder: Path, precision: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

        torch.set_grad_enabled(False)
        self.torch = torch
        self.vision = (folder / "preprocessor_config.json").exists()
        auto = AutoModelForImageTextToText if self.vision else AutoModelForCausalLM
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        self.model = auto.from_pretrained(folder, dtype=dtype).eval()
        self.processor = AutoProcessor.from_pretrained(folder) if self.vision else None

    def image(self, seed: int, side: int, text: int) -> dict[str, float]:
        picture = noise_image(seed, side)
        started = time.perf_counter()
        inputs = self.processor(images=picture, text="<image>\n" + question(text), return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        self._generate(1, **inputs)
        return {"seconds": time.perf_counter() - started, "tokens": inputs["input_ids"].shape[1]}

    def encode(self, seed: int) -> dict[str, float]:
        pixels = self.torch.randn(1, 3, 336, 336).to(self.model.dtype)
        started = time.perf_counter()
        sizes = {"image_sizes": self.torch.tensor([[336, 336]])} if "next" in self.model.config.model_type else {}
        if sizes:
            features = self.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
            self.model.model.multi_modal_projector(features[:, 1:])
        else:
            self.model.get_image_features(pixel_values=pixels)
        return {"seconds": time.perf_counter() - started}

    def settle(self) -> dict[str, float]:
        return {"seconds": 0.0}

    def prefill(self, seed: int, count: int) -> dict[str, float]:
        ids = self.torch.tensor([token_ids(seed, count)])
        started = time.perf_counter()
        self._generate(1, input_ids=ids, attention_mask=self.torch.ones_like(ids))
        return {"seconds": time.perf_counter() - started, "tokens": count}

    def decode(self, seed: int, count: int) -> dict[str, float]:
        ids = self.torch.tensor([token_ids(seed)])
        clock = Clock()
        self._generate(count, input_ids=ids, attention_mask=self.torch.ones_like(ids), streamer=clock)
        return {"seconds": clock.times[-1] - clock.times[1], "tokens": count - 1}

    def together(self, seed: int, requests: int, count: int) -> dict[str, float]:
        started = time.perf_counter()
        for first in range(0, requests, 8):
            ids = self.torch.tensor([token_ids(1000 * seed + first + n) for n in range(min(8, requests - first))])
            self._generate(count, input_ids=ids, attention_mask=self.torch.ones_like(ids))
        return {"seconds": time.perf_counter() - started, "tokens": requests * count}

    def _generate(self, count: int, **inputs: Any) -> None:
        self.model.generate(**inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)

    def close(self) -> None:
        pass


class Clock:
    """A streamer that notes when each token (and first the prompt) arrives."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def resident() -> tuple[int, int]:
    """(anonymous, all) resident bytes of this process; the difference are mapped files."""
    facts = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in ("RssAnon", "VmRSS", "VmHWM"):
            facts[key] = int(value.split()[0]) * 1024
    return facts["RssAnon"], facts["VmRSS"]


class Remote:
    """The parent's end of a worker."""

    def __init__(self, engine: str, folder: Path, precision: str) -> None:
        started = time.perf_counter()
        command = [sys.executable, __file__, engine, str(folder), precision]
        self.name = f"{engine} {precision}"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = self._answer()
        self.load_seconds = time.perf_counter() - started

    def call(self, case: str, **arguments: int) -> dict[str, float]:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps({"case": case, **arguments}) + "\n")
        stdin.flush()
        return self._answer()

    def close(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict[str, float]:
        stdout = self._process.stdout
        assert stdout is not None
        for line in stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended without an answer (exit code {self._process.wait()})")


def serve(engine: Ours | Theirs) -> None:
    def answer(**facts: Any) -> None:
        anonymous, everything = resident()
        print(json.dumps({**facts, "anonymous": anonymous, "resident": everything}), flush=True)

    answer(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        work: Callable[..., dict[str, float]] = getattr(engine, request.pop("case"))
        answer(**work(**request))
    engine.close()


if __name__ == "__main__":
    kind, place, held = sys.argv[1:]
    serve((Theirs if kind == "transformers" else Ours)(Path(place), held))
