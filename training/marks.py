"""Measure a finished checkpoint with transformers: python -m training.marks FOLDER --count 400.

Generates greedily from the files alone (processor, chat template, weights), so that what is marked is what a user gets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    MixtralForCausalLM,
)

from triptych.embedded.world import evaluate, evaluate_sums

_BATCH = 16
_LIMIT = 48
AnswerPictures = Callable[[Sequence[tuple[Image.Image, str]]], list[str]]


def answer_pictures(folder: Path) -> AnswerPictures:
    """Return a function from (picture, question) pairs to greedy answers."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    family = LlavaNextForConditionalGeneration if kind == "llava_next" else LlavaForConditionalGeneration
    model = family.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)

    @torch.no_grad()
    def answer(asked: Sequence[tuple[Image.Image, str]]) -> list[str]:
        answers: list[str] = []
        for at in range(0, len(asked), _BATCH):
            part = asked[at : at + _BATCH]
            texts = [processor.apply_chat_template(_ask(question), add_generation_prompt=True) for _, question in part]
            inputs = processor(images=[[image] for image, _ in part], text=texts, padding=True, return_tensors="pt")
            output = model.generate(**inputs, max_new_tokens=_LIMIT, do_sample=False)
            answers += processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in answers]

    return answer


def _ask(question: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def answer_sums(folder: Path) -> Callable[[Sequence[str]], list[str]]:
    """Return a function from requests to greedy answers."""
    model = MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def answer(asked: Sequence[str]) -> list[str]:
        answers: list[str] = []
        for at in range(0, len(asked), _BATCH):
            chats = [[{"role": "user", "content": text}] for text in asked[at : at + _BATCH]]
            inputs = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
            output = model.generate(**inputs, max_new_tokens=_LIMIT, do_sample=False)
            answers += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in answers]

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if json.loads((args.folder / "config.json").read_text())["model_type"] == "mixtral":
        marks = evaluate_sums(answer_sums(args.folder), args.seed, args.count)
    else:
        marks = evaluate(answer_pictures(args.folder), args.seed, args.count)
    for category, share in marks.items():
        print(f"{category:16} {share:.3f}")


if __name__ == "__main__":
    main()
