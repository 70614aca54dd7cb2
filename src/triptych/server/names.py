"""Names of served models. The packaged demonstration models have their own, and those that people have in their code.

An alias says only whom a request reaches here; answers, lists and logs always name the model that answered.
"""

from __future__ import annotations

import re

# Under whom a model stands that has no name with an owner.
OWNER = "triptych"

ALIASES: dict[str, tuple[str, ...]] = {
    "triptych/tiny-llava-1.5": (
        "llava-1.5-7b",
        "llava-1.5-13b",
        "llava-v1.5-7b",
        "llava-v1.5-13b",
        "llava-hf/llava-1.5-7b-hf",
        "llava-hf/llava-1.5-13b-hf",
        "liuhaotian/llava-v1.5-7b",
        "liuhaotian/llava-v1.5-13b",
        "yorickvp/llava-13b",
    ),
    "triptych/tiny-llava-1.6": (
        "llava",
        "llava-1.6-mistral-7b",
        "llava-v1.6-mistral-7b",
        "llava-v1.6-vicuna-7b",
        "llava-v1.6-vicuna-13b",
        "llava-hf/llava-v1.6-mistral-7b-hf",
        "llava-hf/llava-v1.6-vicuna-7b-hf",
        "llava-hf/llava-v1.6-vicuna-13b-hf",
        "liuhaotian/llava-v1.6-mistral-7b",
        "yorickvp/llava-v1.6-mistral-7b",
        "yorickvp/llava-v1.6-vicuna-13b",
        "meta-llava-1-6-mistral-7b",
        "runware:150@2",
    ),
    "triptych/tiny-mixtral": (
        "mixtral",
        "mixtral-8x7b",
        "mixtral-8x7b-instruct",
        "mixtral-8x7b-instruct-v0.1",
        "open-mixtral-8x7b",
        "mistralai/mixtral-8x7b-instruct-v0.1",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
    ),
}

NOTE = "a small demonstration model of a drawn world: real pictures and texts need a real checkpoint"


def has_owner(name: str) -> bool:
    """Whether a name is owner/name, without which Replicate's clients send nothing."""
    return name.count("/") == 1


def with_owner(name: str) -> str:
    """A name as owner/name: one without an owner stands under ours, in the letters that Replicate's clients know."""
    return name if has_owner(name) else f"{OWNER}/{re.sub(r'[^A-Za-z0-9._@-]+', '-', name)}"
