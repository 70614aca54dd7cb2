"""What answers of both endpoints have in common: usage, ids, and events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ....engine.request import Usage
from ...accounts.cost import usd_float
from ...exchange import Exchange
from ...metered import MeteredRun
from .wire import StreamOptions

_encoder = msgspec.json.Encoder()
DONE = b"data: [DONE]\n\n"


def to_json(value: Any) -> bytes:
    return _encoder.encode(value)


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + _encoder.encode(value) + b"\n\n"


def headers(exchange: Exchange) -> dict[str, str]:
    """What OpenAI's answers carry: the version of its API, and the milliseconds until here."""
    passed = round((time.perf_counter() - exchange.started) * 1000)
    return {"openai-version": "2020-10-01", "openai-processing-ms": str(passed)}


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def now() -> int:
    return int(time.time())


def usage_of(usages: list[Usage], cost_nano: int | None = None) -> dict[str, Any]:
    """The usage object over all prompts of a request, with its cost in dollars if it has one."""
    prompt = sum(usage.prompt_tokens for usage in usages)
    image = sum(usage.image_tokens for usage in usages)
    completion = sum(usage.completion_tokens for usage in usages)
    cost = {} if cost_nano is None else {"cost": usd_float(cost_nano)}
    return cost | {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": sum(usage.cached_tokens for usage in usages),
            "audio_tokens": 0,
            "image_tokens": image,
            "text_tokens": prompt - image,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def cost_of(runs: Sequence[MeteredRun]) -> int | None:
    """What all of them cost together, in nano-dollars; None without a price."""
    costs = [run.cost_nano for run in runs]
    return sum(cost for cost in costs if cost is not None) if costs and None not in costs else None


def stop_reason(value: str | int | None, finish_reason: str | None) -> str | int | None:
    """vLLM's field: the stop string or stop token id that ended the text."""
    return value if finish_reason == "stop" else None


class Chunks:
    """The events of one stream. `same` is what all of them have; it is encoded once. With `prompt_tokens` None, as an
    upstream leaves them until the end, the last event alone has usage.
    """

    def __init__(self, same: dict[str, Any], options: StreamOptions | None, prompt_tokens: int | None) -> None:
        self._head = b"data: " + to_json(same)[:-1] + b',"choices":['
        self._usage = bool(options and options.include_usage)
        self._running = self._usage and bool(options and options.continuous_usage_stats)
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = 0

    def chunk(self, choice: dict[str, Any], tokens: int = 0, more: dict[str, Any] | None = None) -> bytes:
        """One choice's step of `tokens`; `more` is what goes beside `choices`."""
        self._completion_tokens += tokens
        usage = b',"usage":null' if self._usage else b""
        if self._running and self._prompt_tokens is not None:
            prompt, completion = self._prompt_tokens, self._completion_tokens
            total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
            usage = b',"usage":' + to_json(total)
        extra = b"," + to_json(more)[1:-1] if more else b""
        return self._head + to_json(choice) + b"]" + extra + usage + b"}\n\n"

    def end(self, usages: list[Usage], cost_nano: int | None = None) -> bytes:
        """The usage, if it was asked for, and the last word."""
        if not self._usage:
            return DONE
        return self._head + b'],"usage":' + to_json(usage_of(usages, cost_nano)) + b"}\n\n" + DONE
