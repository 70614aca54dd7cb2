"""The whole engine against transformers in fp32: prompts, greedy tokens and log-probabilities.

Whatever the engine does to be fast (batches, chunks, cached prefixes, cached pictures) or to survive (preemption)
must not show in what it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import IMAGE_TOKEN, VOCAB
from engines import MAKERS, Shelf, ask, chat, memory_for, results, tokens
from picture_files import noise
from PIL import Image

from triptych.engine.engine import Engine
from triptych.engine.handle import Result
from triptych.engine.request import TokenLogprob

KINDS = list(MAKERS)
NEVER_SAMPLED = list(range(IMAGE_TOKEN, VOCAB))
LENGTH = 64
SIZES = ((28, 28), (90, 20), (11, 55), (300, 200), (1, 40), (56, 84))
TEXTS = (
    "what is on the table", "the cat and the hat", "is there a red car in the street", "one two three four",
    "a", "describe it in one sentence, please: what do you see here and there", "où est l'école?", "12 + 34 =",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    text: str
    pictures: tuple[Image.Image, ...] = ()


def questions(kind: str) -> list[Question]:
    if not kind.startswith("llava"):
        return [Question(text) for text in TEXTS]
    pictures = [noise(*size) for size in SIZES]
    shown = [(picture,) for picture in pictures] + [(pictures[0], pictures[3]), (pictures[1], pictures[1], pictures[2])]
    return [Question(text, some) for text, some in zip(TEXTS, shown, strict=True)]


class Oracle:
    """transformers' model and processor of one checkpoint."""

    def __init__(self, kind: str, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

        self.sees, self.instructs = kind.startswith("llava"), kind in ("mistral", "mixtral")
        auto = AutoModelForImageTextToText if self.sees else AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = (AutoProcessor if self.sees else AutoTokenizer).from_pretrained(folder)

    def inputs(self, question: Question) -> dict[str, Any]:
        content: Any = [*({"type": "image"} for _ in question.pictures), {"type": "text", "text": question.text}]
        if self.instructs:  # the only templates that take plain text
            content = question.text
        messages = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if self.sees:
            images = list(question.pictures) or None
            return dict(self.processor(images=images, text=text, return_tensors="pt"))
        # The template of a text model spells its <s> itself.
        return dict(self.processor(text, return_tensors="pt", add_special_tokens=not text.startswith("<s>")))

    @torch.inference_mode()
    def generate(self, question: Question) -> tuple[list[int], list[int]]:
        inputs = self.inputs(question)
        prompt = inputs["input_ids"][0].tolist()
        out = self.model.generate(
            **inputs, max_new_tokens=LENGTH, do_sample=False, eos_token_id=None, pad_token_id=0,
            suppress_tokens=NEVER_SAMPLED,
        )
        return prompt, out[0, len(prompt) :].tolist()

    @torch.inference_mode()
    def logits(self, question: Question, answer: list[int]) -> torch.Tensor:
        """Logits [T, V] of the prompt followed by `answer`."""
        inputs = self.inputs(question)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer], dtype=torch.int64)], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return self.model(**inputs).logits[0]

    @torch.inference_mode()
    def agrees(self, question: Question, answer: list[int]) -> None:
        """Each token is the most probable one after those before it (up to rounding, should two tie)."""
        assert len(answer) == LENGTH
        logits = self.logits(question, answer)[-LENGTH - 1 : -1]
        logits[:, NEVER_SAMPLED] = -torch.inf
        chosen = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert float((logits.amax(-1) - chosen).max()) <= 1e-4


@pytest.fixture(scope="session")
def oracle(shelf: Shelf) -> Callable[[str], Oracle]:
    made: dict[str, Oracle] = {}

    def get(kind: str) -> Oracle:
        if kind not in made:
            made[kind] = Oracle(kind, shelf[kind])
        return made[kind]

    return get


def greedy(engine: Engine, asked: Iterable[Question]) -> list[Result]:
    """Answers of LENGTH tokens to all questions at once."""
    prompts = [chat(engine, question.text, *question.pictures) for question in asked]
    return results([ask(engine, prompt, max_tokens=LENGTH, ignore_eos=True) for prompt in prompts])


@pytest.mark.parametrize("kind", KINDS)
def test_chat_prompts_and_greedy_tokens(kind: str, shelf: Shelf, oracle: Callable[[str], Oracle]) -> None:
    asked = questions(kind)
    with shelf.open(kind) as engine:
        for question in asked:
            prompt = chat(engine, question.text, *question.pictures)
            assert list(prompt.token_ids) == oracle(kind).inputs(question)["input_ids"][0].tolist()
        for question in (asked[0], asked[3], asked[7]):
            [result] = greedy(engine, [question])
            assert tokens(result) == oracle(kind).generate(question)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_eight_requests_together(kind: str, shelf: Shelf, oracle: Callable[[str], Oracle]) -> None:
    asked = questions(kind)
    with shelf.open(kind) as engine:
        for question, result in zip(asked, greedy(engine, asked), strict=True):
            oracle(kind).agrees(question, tokens(result))
        assert engine.stats().counters.steps < 3 * LENGTH  # they did run together


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_in_chunks_of_a_few_tokens(kind: str, shelf: Shelf, oracle: Callable[[str], Oracle]) -> None:
    """Chunk borders fall into pictures, and chunks run beside the decoding of others."""
    asked = questions(kind)
    with shelf.open(kind, token_budget=9, max_rows=8) as engine:
        for question, result in zip(asked, greedy(engine, asked), strict=True):
            oracle(kind).agrees(question, tokens(result))
        longest = max(result.usage.prompt_tokens for result in greedy(engine, asked[3:4]))
        assert longest > 2 * 9


@pytest.mark.parametrize("kind", KINDS)
def test_preempted_requests(kind: str, shelf: Shelf, oracle: Callable[[str], Oracle]) -> None:
    asked = questions(kind)
    with shelf.open(kind, kv_memory=memory_for(shelf[kind], 512)) as engine:
        answers = greedy(engine, asked)
        assert engine.stats().scheduler.preemptions > 0
        for question, result in zip(asked, answers, strict=True):
            oracle(kind).agrees(question, tokens(result))
            assert result.usage.completion_tokens == LENGTH


@pytest.mark.parametrize("kind", ["llava15", "llava16"])
def test_pictures_that_are_forgotten_as_soon_as_they_may_be(
    kind: str, shelf: Shelf, oracle: Callable[[str], Oracle]
) -> None:
    """Preempted prompts must encode their pictures again, and chunks must find what the first chunk encoded."""
    asked = questions(kind)
    options = {"image_memory": 1, "prefix_cache": False, "token_budget": 9, "max_rows": 8}
    with shelf.open(kind, kv_memory=memory_for(shelf[kind], 512), **options) as engine:
        answers = greedy(engine, asked)
        assert engine.stats().scheduler.preemptions > 0
        assert engine.stats().images_cached == 0
        for question, result in zip(asked, answers, strict=True):
            oracle(kind).agrees(question, tokens(result))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_again(kind: str, shelf: Shelf) -> None:
    asked = questions(kind)
    with shelf.open(kind) as engine:
        first, second = greedy(engine, asked), greedy(engine, asked)
        assert [tokens(result) for result in second] == [tokens(result) for result in first]
        for result in second:
            assert result.usage.cached_tokens == (result.usage.prompt_tokens - 1) // 16 * 16


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("kind", ["llava15", "llava16"])
def test_another_question_about_the_same_picture(
    kind: str, prefix_cache: bool, shelf: Shelf, oracle: Callable[[str], Oracle]
) -> None:
    pictures = (noise(300, 200), noise(300, 200, seed=1))
    with shelf.open(kind, prefix_cache=prefix_cache) as engine:
        greedy(engine, [Question("what is it", pictures)])
        encoded = engine._loop.runner.tiles_encoded
        again = Question("how many are there", pictures)
        [result] = greedy(engine, [again])
        assert engine._loop.runner.tiles_encoded == encoded
        assert (result.usage.cached_tokens > 0) == (prefix_cache and result.usage.prompt_tokens > 16)
        oracle(kind).agrees(again, tokens(result))
        swapped = Question("how many are there", pictures[::-1])
        oracle(kind).agrees(swapped, tokens(greedy(engine, [swapped])[0]))


@pytest.mark.parametrize("options", [{}, {"token_budget": 9, "max_rows": 8}], ids=["whole", "chunks"])
@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities(
    kind: str, options: dict[str, Any], shelf: Shelf, oracle: Callable[[str], Oracle]
) -> None:
    asked = questions(kind)[3:]
    with shelf.open(kind, **options) as engine:
        prompts = [chat(engine, question.text, *question.pictures) for question in asked]
        handles = [
            ask(engine, prompt, max_tokens=8, ignore_eos=True, logprobs=3, prompt_logprobs=2) for prompt in prompts
        ]
        for question, prompt, result in zip(asked, prompts, results(handles), strict=True):
            answer = tokens(result)
            expected = oracle(kind).logits(question, answer).log_softmax(-1)
            assert result.prompt_logprobs is not None
            assert result.prompt_logprobs[0] is None
            compare(result.prompt_logprobs[1:], prompt.token_ids[1:], expected, 2)
            compare(result.choices[0].logprobs, answer, expected[len(prompt.token_ids) - 1 :], 3)


def compare(
    found: Iterable[TokenLogprob | None], ids: Iterable[int], expected: torch.Tensor, alternatives: int
) -> None:
    """Row i of `expected` [T, V] are the log-probabilities of what may be the i-th of `ids`."""
    for entry, token, row in zip(found, ids, expected, strict=False):
        assert entry is not None
        assert entry.token_id == token
        assert entry.logprob == pytest.approx(float(row[token]), abs=1e-4)
        allowed = row[:IMAGE_TOKEN]
        assert entry.rank == pytest.approx(1 + int((allowed > row[token]).sum()), abs=1)
        best = allowed.topk(alternatives).values.tolist()
        assert [value for _, value in entry.top] == pytest.approx(best, abs=1e-4)
        for other, value in entry.top:
            assert value == pytest.approx(float(row[other]), abs=1e-4)
