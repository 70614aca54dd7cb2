"""What kind of server an upstream is: which of the words beyond OpenAI's it understands."""

from __future__ import annotations

from typing import Literal

from .wire import Listed

Kind = Literal["openai", "vllm", "sglang", "triptych"]


def kind_of(listed: Listed) -> Kind:
    """What a server is by its list of models. One that says nothing of itself is asked for OpenAI's own only."""
    if listed.aliases is not None and "return_token_ids" in (listed.supported_parameters or ()):
        return "triptych"
    if listed.owned_by == "vllm":
        return "vllm"
    return "sglang" if listed.owned_by == "sglang" else "openai"


def tells_token_ids(kind: Kind) -> bool:
    """Whether `return_token_ids` is understood."""
    return kind in ("vllm", "triptych")
