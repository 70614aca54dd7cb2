"""Measures a loaded model: time to first token, decoding alone and together, pictures. Behind `triptych bench`."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .engine.checkpoints.checkpoint import TextConfig
from .engine.errors import ParameterError
from .engine.imaging.images import open_image
from .engine.request import Prompt, Request, SamplingParams
from .engine.sizing import BYTES_PER_WEIGHT, Parameters, Sizing, count_parameters
from .llm import LLM


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case. `bytes` and `flops` are what it had to read and compute; `tokens` what it got through."""

    name: str
    seconds: float
    tokens: int = 0
    bytes: float = 0.0
    flops: float = 0.0


class Meter:
    """Runs the cases on one model; each is repeated and the median counts."""

    def __init__(self, llm: LLM, repeat: int) -> None:
        self._llm = llm
        self._engine = llm.engine
        self._repeat = repeat
        self._random = random.Random(0)
        self._parameters = count_parameters(self._engine.model_config)
        self._sizing: Sizing = self._engine.sizing
        self._ids = 0

    def prefill(self, tokens: int) -> Measurement:
        """Time to the first token after a fresh text prompt of `tokens` tokens."""
        self._check(tokens, 1)
        times = [self._run([self._fresh(tokens)], 1)[0] for _ in range(self._repeat)]
        return Measurement(f"prefill {tokens} tokens", median(times), tokens, flops=self._flops(tokens, tokens / 2))

    def decode(self, tokens: int, rows: int, prompt_tokens: int = 32) -> Measurement:
        """`rows` sequences of `tokens` generated tokens each, all at once, after short prompts."""
        self._check(prompt_tokens, tokens)
        times = []
        for _ in range(self._repeat):
            first, last = self._run([self._fresh(prompt_tokens) for _ in range(rows)], tokens)
            times.append(last - first)
        steps = tokens - 1
        context = prompt_tokens + tokens / 2
        read = self._weight_bytes(rows) + rows * context * self._sizing.kv_token_bytes
        flops = rows * self._flops(1, context)
        together = f", {rows} together" if rows > 1 else ""
        name = f"decode {tokens} tokens{together}"
        return Measurement(name, median(times), steps * rows, steps * read, steps * flops)

    def image(self, path: str, question: str) -> list[Measurement]:
        """Time to the first token of a question about a picture: seen for the first time, then once more."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self._engine.chat_prompt([{"role": "user", "content": content}], [open_image(path)])
        name = f"picture of {prompt.image_tokens} tokens"
        first, _ = self._run([prompt], 1)
        again, _ = self._run([prompt], 1)
        return [Measurement(f"{name}, new", first, len(prompt.token_ids)), Measurement(f"{name}, again", again)]

    def _fresh(self, tokens: int) -> Prompt:
        """Random token ids: nothing of it is in the prefix cache."""
        special = {self._engine.model_config.image_token_id}
        top = min(self._engine.tokenizer.vocab_size, self._engine.info.vocab)
        ids = (self._random.randrange(3, top) for _ in range(2 * tokens + 8))
        return Prompt(tuple([token for token in ids if token not in special][:tokens]))

    def _run(self, prompts: Sequence[Prompt], tokens: int) -> tuple[float, float]:
        """(seconds to the first token of the slowest, seconds to the end of all)."""
        params = SamplingParams(max_tokens=tokens, min_tokens=tokens, ignore_eos=True)
        started = time.perf_counter()
        handles = []
        for prompt in prompts:
            self._ids += 1
            handles.append(self._engine.submit(Request(f"bench-{self._ids}", prompt, params)))
        results = [handle.result() for handle in handles]
        return max(result.timing.first_token for result in results), time.perf_counter() - started

    def _check(self, prompt_tokens: int, tokens: int) -> None:
        limit = self._sizing.max_context
        if prompt_tokens + tokens > limit:
            raise ParameterError(
                f"{prompt_tokens} prompt tokens and {tokens} more do not fit the context of {limit}; ask for fewer"
            )

    def _flops(self, tokens: int, context: float) -> float:
        """Of a decoder pass: two per active weight and token, and attention over `context` tokens on average."""
        text = self._engine.model_config.text
        head = 2.0 * text.vocab * text.hidden
        matrices = 2.0 * (self._parameters.active - text.vocab * text.hidden) * tokens + head
        return matrices + 4.0 * text.layers * text.heads * text.head_dim * context * tokens

    def _weight_bytes(self, rows: int) -> float:
        return weight_bytes_per_step(self._parameters, self._sizing, self._engine.model_config.text, rows)


def weight_bytes_per_step(parameters: Parameters, sizing: Sizing, text: TextConfig, rows: int) -> float:
    """Weights one decoding step of `rows` sequences reads; of the experts, those that `rows` tokens choose."""
    width = BYTES_PER_WEIGHT[sizing.precision]
    touched = 1 - (1 - text.experts_per_token / text.experts) ** rows if text.experts else 0.0
    head = (parameters.head or parameters.embedding) * max(1.0, width)
    return (parameters.blocks + touched * parameters.experts) * width + head
