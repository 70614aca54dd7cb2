"""What answers of both endpoints have in common: usage, ids, and events."""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from ....engine.request import Usage

_encoder = msgspec.json.Encoder()
DONE = b"data: [DONE]\n\n"
FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


def to_json(value: Any) -> bytes:
    return _encoder.encode(value)


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + _encoder.encode(value) + b"\n\n"


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def now() -> int:
    return int(time.time())


def usage_of(usages: list[Usage]) -> dict[str, Any]:
    """The usage object over all prompts of a request."""
    prompt = sum(usage.prompt_tokens for usage in usages)
    image = sum(usage.image_tokens for usage in usages)
    completion = sum(usage.completion_tokens for usage in usages)
    return {
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


def stop_reason(value: str | int | None, finish_reason: str | None) -> str | int | None:
    """vLLM's field: the stop string or stop token id that ended the text."""
    return value if finish_reason == "stop" else None
