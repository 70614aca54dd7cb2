"""Logits to tokens, for all rows of a step at once.

Order: log-probabilities are taken from the raw logits, before anything else; then repetition, presence and
frequency penalties, logit bias, the grammar's mask, bans; then temperature, top-k, min-p, top-p and the draw.
This is the order of vLLM and of OpenAI's API, whose log-probabilities are the model's own as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..request import SamplingParams, TokenLogprob
from .draw import draw, filter_weights, uniform
from .penalties import TokenCounts

# Rows of logits that are alive at a time while prompts are scored: 64 x 32,064 fp32 are 8 MB.
SCORE_ROWS = 64


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token chosen for one row, with its log-probability if the request asked for it.

    `finite` is false when there was nothing to choose from: logits that are NaN or infinite.
    """

    token_id: int
    logprob: TokenLogprob | None = None
    finite: bool = True


class SamplingRow:
    """Everything that decides the next token of one sequence; kept from step to step.

    `seed` is the effective one (drawn by the caller when the request has none), `index` the choice among the
    `n` of the request. Set `mask` (bool [V], True for allowed ids, on any device) before a step whose token
    must obey a grammar, and `append` each token that was chosen. What is drawn depends on (seed, index,
    number of tokens appended) alone, so neither the rest of the batch nor a preemption changes it.
    """

    __slots__ = ("_bias", "_counts", "index", "mask", "params", "position", "seed")

    def __init__(
        self, params: SamplingParams, prompt_ids: Sequence[int], seed: int, index: int = 0
    ) -> None:
        self.params = params
        self.seed = seed
        self.index = index
        self.position = 0
        self.mask: Tensor | None = None
        self._bias: tuple[Tensor, Tensor] | None = None
        self._counts = TokenCounts.of(params, prompt_ids)

    def append(self, token_id: int) -> None:
        self.position += 1
        if self._counts is not None:
            self._counts.add(token_id)

    @property
    def greedy(self) -> bool:
        # top_k = 1 is how many callers ask for greedy decoding; a draw among exact ties would surprise them.
        return self.params.greedy or self.params.top_k == 1

    @property
    def edited(self) -> bool:
        """Whether the next token's logits differ from the model's."""
        params = self.params
        return (
            self._counts is not None
            or self.mask is not None
            or self.position < params.min_tokens
            or bool(params.logit_bias)
        )

    def edit(self, logits: Tensor, eos_ids: Collection[int]) -> None:
        """Applies penalties, bias, mask and minimum length to this row's `logits` [V], in place."""
        if self._counts is not None:
            self._counts.penalise(logits)
        if self.params.logit_bias:
            ids, values = self._bias_on(logits.device)
            logits.index_add_(0, ids, values)
        early = self._too_early(eos_ids)
        if self.mask is not None:
            # Where the grammar leaves nothing but an end, the text is complete: it wins over min_tokens.
            mask = self.mask if not early else _without(self.mask, early)
            logits.masked_fill_(~mask.to(logits.device), -torch.inf)
        elif early:
            logits[early] = -torch.inf

    def _too_early(self, eos_ids: Collection[int]) -> list[int]:
        """Ids that would end the text before it has `min_tokens` tokens."""
        params = self.params
        if self.position >= params.min_tokens:
            return []
        return sorted({*params.stop_token_ids, *(() if params.ignore_eos else eos_ids)})

    def _bias_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._bias is None:
            bias = self.params.logit_bias
            self._bias = (
                torch.tensor(list(bias.keys()), dtype=torch.int64, device=device),
                torch.tensor(list(bias.values()), dtype=torch.float32, device=device),
            )
        return self._bias


def _without(mask: Tensor, ids: list[int]) -> Tensor:
    rest = mask.clone()
    rest[ids] = False
    return rest if bool(rest.any()) else mask


class Sampler:
    """Chooses one token per row of logits.

    `vocab` is the width V of the logits. `banned` ids are never chosen nor reported as alternatives: rows of
    the head beyond the tokenizer's vocabulary, image and padding placeholders. `eos_ids` end a text; they are
    kept back while a row has fewer than `min_tokens` tokens.
    """

    def __init__(
        self, vocab: int, *, eos_ids: Collection[int] = (), banned: Collection[int] = ()
    ) -> None:
        self.vocab = vocab
        self.eos_ids = frozenset(eos_ids)
        self._limit = _samplable_limit(vocab, banned)
        holes = sorted(token for token in banned if token < self._limit)
        self._holes = torch.tensor(holes, dtype=torch.int64)

    def check(self, params: SamplingParams) -> None:
        """Raises ParameterError for token ids that this vocabulary does not have. Safe on any thread."""
        for name, ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
            for token in ids:
                if not 0 <= token < self.vocab:
                    raise ParameterError(
                        f"{name} has token id {token}, but this model's ids go from 0 to {self.vocab - 1}", name
                    )

    @torch.inference_mode()
    def sample(self, logits: Tensor, rows: Sequence[SamplingRow]) -> list[Sampled]:
        """One token for each row of `logits` [R, V] fp32, which is overwritten.

        A row's token does not depend on the other rows (up to the rounding of the logits themselves).
        """
        reported = [row for row, state in enumerate(rows) if state.params.logprobs is not None]
        raw = logits[reported] if reported else None
        for row, state in enumerate(rows):
            if state.edited:
                state.edit(logits[row], self.eos_ids)
        samplable = self._samplable(logits)
        finite = samplable.amax(-1).isfinite().tolist()  # the highest of a row with a NaN is NaN
        tokens = self._choose(samplable, rows)
        sampled = [Sampled(token, finite=sound) for token, sound in zip(tokens, finite, strict=True)]
        if raw is not None:
            ids = [tokens[row] for row in reported]
            tops = [rows[row].params.logprobs or 0 for row in reported]
            for row, logprob in zip(reported, self._describe(raw, ids, max(tops)), strict=True):
                top = logprob.top[: rows[row].params.logprobs]
                described = TokenLogprob(logprob.token_id, logprob.logprob, logprob.rank, top)
                sampled[row] = Sampled(logprob.token_id, described, finite[row])
        return sampled

    def _choose(self, logits: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        random = [row for row, state in enumerate(rows) if not state.greedy]
        tokens = _argmax(logits) if len(random) < len(rows) else [0] * len(rows)
        if random:
            states = [rows[row] for row in random]
            chosen = logits if len(random) == len(rows) else logits[random]
            weights = filter_weights(chosen, [state.params for state in states])
            numbers = [uniform(state.seed, state.index, state.position) for state in states]
            for row, token in zip(random, draw(weights, numbers).tolist(), strict=True):
                tokens[row] = token
        return tokens

    @torch.inference_mode()
    def score(
        self, head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Sequence[int], top: int
    ) -> list[TokenLogprob]:
        """Log-probability, rank and `top` alternatives of the token that follows each of `hidden` [T, H].

        `head` maps [R, H] to logits [R, V] fp32 and is called for at most `SCORE_ROWS` rows at a time: the
        logits of a long prompt never exist at once. `targets` are the T tokens that did follow.
        """
        scores: list[TokenLogprob] = []
        for start in range(0, len(targets), SCORE_ROWS):
            part = slice(start, start + SCORE_ROWS)
            scores += self._describe(head(hidden[part]), targets[part], top)
        return scores

    def _describe(self, logits: Tensor, token_ids: Sequence[int], top: int) -> list[TokenLogprob]:
        """What the model thought of `token_ids` [R] and of its `top` best; overwrites `logits` [R, V]."""
        ids = torch.tensor(token_ids, dtype=torch.int64, device=logits.device)
        norm = logits.logsumexp(-1, keepdim=True)
        chosen = logits.gather(1, ids[:, None])
        others = self._samplable(logits)
        ranks = ((others > chosen).sum(-1) + 1).tolist()
        values, best = others.topk(min(top, others.shape[-1]), dim=-1)
        alternatives = zip(best.tolist(), (values - norm).tolist(), strict=True)
        return [
            TokenLogprob(token, logprob, rank, tuple(zip(names, numbers, strict=True)))
            for token, logprob, rank, (names, numbers) in zip(
                token_ids, (chosen - norm)[:, 0].tolist(), ranks, alternatives, strict=True
            )
        ]

    def _samplable(self, logits: Tensor) -> Tensor:
        """The columns up to the last id that may be chosen, with the banned ones among them at -inf."""
        if len(self._holes):
            self._holes = self._holes.to(logits.device)  # stays there after the first step
            logits.index_fill_(1, self._holes, -torch.inf)
        return logits[:, : self._limit]


def _samplable_limit(vocab: int, banned: Collection[int]) -> int:
    """One more than the highest id that is not banned: bans at the end of the vocabulary cost nothing."""
    barred = frozenset(banned)
    limit = vocab
    while limit and limit - 1 in barred:
        limit -= 1
    if not limit:
        raise ValueError(f"all {vocab} ids of the vocabulary are banned")
    return limit


def _argmax(logits: Tensor) -> list[int]:
    """The first highest id of each row of [R, V]. numpy's is four times as fast as torch's on the CPU."""
    if logits.device.type == "cpu":
        tokens: list[int] = np.argmax(logits.numpy(), axis=-1).tolist()
    else:
        tokens = logits.argmax(-1).tolist()
    return tokens
