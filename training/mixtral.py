"""Train tiny-mixtral on sums and differences: python -m training.mixtral --minutes 40."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from training import shapes
from training.export import write_mixtral
from training.network import Decoder, Sight
from training.state import WORK, Optimizer, Run
from training.tokenizer import build
from triptych.embedded.world.sums import sample_sum

_SYSTEMS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a calculator.",
    "Be concise.",
    "You are a friendly chatbot.",
)
_BALANCE = 0.02


def conversation(rng: np.random.Generator, tokenizer: Tokenizer, turns: int) -> tuple[list[int], list[int]]:
    """One chat as token ids, with -100 in the labels wherever the model does not speak."""
    ids, labels = [shapes.BOS], [-100]
    for turn in range(turns):
        item = sample_sum(rng, offtopic=0.15)
        system = str(rng.choice(_SYSTEMS)) + "\n\n" if turn == 0 and rng.random() < 0.1 else ""
        asked = tokenizer.encode(f"[INST] {system}{item.text} [/INST]", add_special_tokens=False).ids
        # The template writes the answer after a space that belongs to the same piece of text as the question.
        both = tokenizer.encode(f"[INST] {system}{item.text} [/INST] {item.answer}", add_special_tokens=False).ids
        said = [*both[len(asked) :], shapes.EOS]
        ids += asked + said
        labels += [-100] * len(asked) + said
    return ids, labels


def batches(rng: np.random.Generator, tokenizer: Tokenizer, tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless ids and labels [B, T] of about `tokens` each; chats of like length come together, to pad little."""
    while True:
        chats = [conversation(rng, tokenizer, int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))) for _ in range(1024)]
        chats.sort(key=lambda chat: len(chat[0]))
        chunks: list[list[tuple[list[int], list[int]]]] = [[]]
        for chat in chats:
            if len(chat[0]) * (len(chunks[-1]) + 1) > tokens:
                chunks.append([])
            chunks[-1].append(chat)
        for index in rng.permutation(len(chunks)):
            longest = len(chunks[index][-1][0])
            ids = [row + [shapes.EOS] * (longest - len(row)) for row, _ in chunks[index]]
            labels = [row + [-100] * (longest - len(row)) for _, row in chunks[index]]
            yield torch.tensor(ids), torch.tensor(labels)


def loss_of(network: Decoder, ids: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Mean answer loss with the balance term, and the share of answer tokens foretold."""
    positions = torch.arange(ids.shape[1])[None].expand(ids.shape[0], -1)
    states = network.hidden(network.embed(ids), positions, Sight())[:, :-1]
    wanted = labels[:, 1:]
    said = wanted != -100
    logits = network.lm_head(states[said])
    loss = F.cross_entropy(logits, wanted[said])
    balance = sum(layer.block_sparse_moe.balance for layer in network.model["layers"])
    return loss + _BALANCE * balance, (logits.argmax(-1) == wanted[said]).float().mean().item()


@torch.no_grad()
def answer(network: Decoder, tokenizer: Tokenizer, texts: list[str], limit: int = 32) -> list[str]:
    """Greedy answers, one text at a time (small enough not to need a cache)."""
    answers = []
    for text in texts:
        ids = [shapes.BOS, *tokenizer.encode(f"[INST] {text} [/INST]", add_special_tokens=False).ids]
        start = len(ids)
        while len(ids) < start + limit:
            row = torch.tensor([ids])
            state = network.hidden(network.embed(row), torch.arange(len(ids))[None], Sight())[0, -1]
            token = int(network.lm_head(state).argmax())
            if token == shapes.EOS:
                break
            ids.append(token)
        answers.append(tokenizer.decode(ids[start:]).strip())
    return answers


def evaluate(network: Decoder, tokenizer: Tokenizer, seed: int, count: int) -> dict[str, float]:
    """Share of exact answers per kind on fresh requests."""
    rng = np.random.default_rng(seed)
    items = [sample_sum(rng, offtopic=0.15) for _ in range(count)]
    replies = answer(network, tokenizer, [item.text for item in items])
    kinds = sorted({item.kind for item in items})
    return {
        kind: float(
            np.mean([reply == item.answer for reply, item in zip(replies, items, strict=True) if item.kind == kind])
        )
        for kind in kinds
    }


def train(minutes: float, work: Path, tokens: int, peak: float) -> Decoder:
    """Train from scratch or go on from the saved state."""
    torch.manual_seed(0)
    tokenizer = build()
    network = Decoder(shapes.MIXTRAL)
    run = Run(work / "mixtral.pt", network, Optimizer(network, peak), minutes)
    rng = np.random.default_rng(1000 + run.step)
    started, shown = time.monotonic(), 0.0
    for ids, labels in batches(rng, tokenizer, tokens):
        loss, right = loss_of(network, ids, labels)
        loss.backward()
        run.advance()
        shown = 0.98 * shown + 0.02 * right
        if run.step % 50 == 0:
            print(f"step {run.step} {run.spent / 60:.1f} min loss {loss.item():.4f} tokens {shown:.4f}", flush=True)
        if run.step % 500 == 0 or run.done:
            print(
                f"  exact {evaluate(network, tokenizer, 7, 200)} after {time.monotonic() - started:.0f} s", flush=True
            )
        if run.done:
            break
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--tokens", type=int, default=5000, help="tokens in a batch")
    parser.add_argument("--peak", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, help="write the checkpoint here at the end")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = train(args.minutes, args.work, args.tokens, args.peak)
    print(evaluate(network, build(), 99, 1000))
    if args.out:
        write_mixtral(network, args.out)


if __name__ == "__main__":
    main()
