"""How truthfully the embedded models answer in their world, in every precision, through the engine.

    python bench/accuracy.py --count 800
    python bench/accuracy.py --models triptych/tiny-mixtral --precisions bf16 int4

Fresh pictures and never-trained digits (`triptych.embedded.world`); the same exams for every precision, so that
differences between precisions are differences in answers. A share p of n exams has a standard error of
sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from triptych import LLM
from triptych.embedded import NAMES, world

PRECISIONS = ("stored", "int8", "int4", "w8a8")
MOST_TOKENS = 96


def answer_pictures(llm: LLM, exams: Sequence[tuple[Any, str]]) -> list[str]:
    """Each question with its picture, many at a time."""
    return _chat_all(llm, [(question, image) for image, question in exams])


def answer_sums(llm: LLM, questions: Sequence[str]) -> list[str]:
    return _chat_all(llm, [(question, None) for question in questions])


def _chat_all(llm: LLM, jobs: Sequence[tuple[str, Any]]) -> list[str]:
    """Answers in order; the pool keeps as many requests under way as one step takes."""
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda job: llm.chat(job[0], images=job[1], max_tokens=MOST_TOKENS).text, jobs))


def marks(name: str, precision: str, seed: int, count: int) -> dict[str, float]:
    """Share of right answers by category."""
    with LLM(name, precision=precision) as llm:
        if llm.engine.info.vision:
            return world.evaluate(lambda exams: answer_pictures(llm, exams), seed, count)
        return world.evaluate_sums(lambda questions: answer_sums(llm, questions), seed, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--count", type=int, default=800, help="exams for each model")
    parser.add_argument("--seed", type=int, default=20_261_121)
    arguments = parser.parse_args()
    for name in arguments.models:
        results = {p: marks(name, p, arguments.seed, arguments.count) for p in arguments.precisions}
        print(f"\n{name}, {arguments.count} exams\n")
        print("| right answers | " + " | ".join(results) + " |")
        print("|---|" + "---:|" * len(results))
        for category in next(iter(results.values())):
            shares = " | ".join(f"{100 * marked[category]:.1f} %" for marked in results.values())
            print(f"| {category} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
