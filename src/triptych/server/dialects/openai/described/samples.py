"""Answers that were seen, for the reference: of triptych/tiny-mixtral to the examples beside them."""

from __future__ import annotations

from typing import Any

from ....operations import ANY_MODEL

_CREATED = 1795655738


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "image_tokens": 0, "text_tokens": prompt},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


CHAT = {
    "id": "chatcmpl-cdf414be9e9e37b1f3857fbd",
    "object": "chat.completion",
    "created": _CREATED,
    "model": ANY_MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "42", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ],
    "usage": _usage(21, 4),
    "system_fingerprint": "fp_9f794b6161",
    "service_tier": None,
}

COMPLETION = {
    "id": "cmpl-98f5c4a0db6076f9af31837f",
    "object": "text_completion",
    "created": _CREATED,
    "model": ANY_MODEL,
    "choices": [{"index": 0, "text": " 42", "logprobs": None, "finish_reason": "stop", "stop_reason": None}],
    "usage": _usage(21, 4),
    "system_fingerprint": "fp_9f794b6161",
}

MODEL = {
    "id": ANY_MODEL,
    "object": "model",
    "created": _CREATED,
    "owned_by": "triptych",
    "root": "triptych/tiny-mixtral",
    "parent": None,
    "aliases": ["mixtral", "mixtral-8x7b"],
    "state": "ready",
    "supported_parameters": ["max_tokens", "temperature", "top_p"],
    "max_model_len": 2048,
    "context_length": 2048,
    "quantization": "fp32",
    "architecture": {
        "modality": "text->text",
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "tokenizer": "mixtral",
        "instruct_type": None,
    },
    "default_sampling": {"temperature": 0.0},
}

MODELS = {"object": "list", "data": [MODEL]}

TOKENS = {
    "count": 12,
    "max_model_len": 2048,
    "tokens": [1, 448, 401, 353, 275, 281, 353, 269, 353, 276, 279, 289],
    "token_strs": ["<s>", "▁What", "▁is", "▁", "1", "7", "▁", "+", "▁", "2", "5", "?"],
}

TEXT = {"prompt": "<s>ab"}
