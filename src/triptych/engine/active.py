"""What the engine remembers of a request while it is under way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .handle import RequestHandle
from .request import Delta, Finished, FinishReason, Request, Timing, TokenLogprob, Usage
from .sampling.output import TextStream
from .sampling.sampler import Sampled, SamplingRow
from .sequence import Sequence

if TYPE_CHECKING:
    from .sampling.grammar import Matcher


@dataclass(slots=True)
class ActiveChoice:
    """One continuation: its tokens, its text so far, and what may come next."""

    sequence: Sequence
    stream: TextStream
    row: SamplingRow
    matcher: Matcher | None = None
    generated: int = 0
    finish_reason: FinishReason | None = None

    def prepare(self) -> None:
        """Makes `row` ready for the next token. Raises ConstraintError when no token can continue the text."""
        if self.matcher is not None:
            self.row.mask = self.matcher.mask()

    def accept(self, sampled: Sampled) -> Delta:
        """Takes the sampled token into the text and says what may be told of it."""
        token = sampled.token_id
        self.generated += 1
        self.row.append(token)
        grammar_done = False
        if self.matcher is not None:
            self.matcher.accept(token)
            grammar_done = self.matcher.finished
        emission = self.stream.step(token, grammar_finished=grammar_done)
        self.finish_reason = emission.finish_reason
        return Delta(
            request_id=self.sequence.request.request_id,
            index=self.sequence.index,
            token_ids=(token,),
            text=emission.text,
            logprobs=(sampled.logprob,) if sampled.logprob is not None else (),
            finish_reason=emission.finish_reason,
            stop_reason=emission.stop_reason,
        )


@dataclass(slots=True)
class ActiveRequest:
    """A submitted request with its choices, its owner and its clock."""

    request: Request
    handle: RequestHandle
    choices: list[ActiveChoice]
    submitted: float = field(default_factory=time.perf_counter)
    started: float | None = None
    first_token: float | None = None
    # Nothing predicts the first token.
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=lambda: [None])
    ended: bool = False

    @property
    def done(self) -> bool:
        return all(choice.finish_reason is not None for choice in self.choices)

    def mark_started(self) -> None:
        if self.started is None:
            self.started = time.perf_counter()

    def deliver(self, delta: Delta) -> None:
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.handle.deliver(delta)

    def add_prompt_logprobs(self, first: int, scores: list[TokenLogprob]) -> None:
        """Scores of prompt tokens `first + 1 ...`; a prompt computed again after preemption changes nothing."""
        known = len(self.prompt_logprobs) - 1
        if first + len(scores) > known:
            self.prompt_logprobs.extend(scores[known - first :])

    def abort_choices(self) -> None:
        for choice in self.choices:
            if choice.finish_reason is None:
                choice.finish_reason = "abort"
                self.handle.deliver(
                    Delta(
                        self.request.request_id,
                        choice.sequence.index,
                        text=choice.stream.flush(),
                        finish_reason="abort",
                    )
                )

    def finish(self, error: Exception | None) -> Usage:
        """Tells the owner that it is over, with what was computed until now."""
        self.ended = True
        prompt, sequence = self.request.prompt, self.choices[0].sequence
        # Without a first token the prompt was computed in part, or not at all.
        read = len(prompt.token_ids) if self.first_token is not None else min(len(prompt.token_ids), sequence.reached)
        usage = Usage(
            prompt_tokens=read,
            cached_tokens=min(sequence.cached, read),
            image_tokens=sum(max(0, min(span.length, read - span.offset)) for span in prompt.spans),
            completion_tokens=sum(choice.generated for choice in self.choices),
        )
        scored = tuple(self.prompt_logprobs) if self.request.params.prompt_logprobs is not None else None
        self.handle.deliver(Finished(self.request.request_id, usage, self._timing(), scored, error))
        return usage

    def _timing(self) -> Timing:
        now = time.perf_counter()
        return Timing(
            queued=(self.started or now) - self.submitted,
            first_token=(self.first_token or now) - self.submitted,
            total=now - self.submitted,
        )
