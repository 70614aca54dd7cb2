"""What the engine says, in the words of the protocol: tokens with their bytes, the model with its special tokens."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..engine.request import Delta, Finished, TokenLogprob
from . import protocol

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.prompting.tokenizer import Tokenizer


class Spelling:
    """Events of the engine as frames; `tokenizer` knows the bytes of a token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes = tokenizer.token_bytes

    def piece(self, delta: Delta) -> protocol.Piece:
        logprobs = [self._logprob(entry) for entry in delta.logprobs]
        ids = list(delta.token_ids)
        return protocol.Piece(delta.index, delta.text, ids, logprobs, delta.finish_reason, delta.stop_reason)

    def end(self, id: str, finished: Finished) -> protocol.End:
        prompt = finished.prompt_logprobs
        scored = None if prompt is None else [None if entry is None else self._logprob(entry) for entry in prompt]
        error = None if finished.error is None else protocol.failure_of(finished.error)
        return protocol.End(id, finished.usage, finished.timing, scored, error)

    def _logprob(self, entry: TokenLogprob) -> protocol.Logprob:
        top = [(token, logprob, self._bytes(token)) for token, logprob in entry.top]
        return protocol.Logprob(entry.token_id, entry.logprob, entry.rank, self._bytes(entry.token_id), top)


def describe(engine: Engine) -> protocol.ModelInfo:
    """What a server needs to know of the engine."""
    tokenizer = engine.tokenizer
    names = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    template = engine.prompts.template
    return protocol.ModelInfo(
        **asdict(engine.info),
        can_chat=engine.prompts.can_chat,
        fingerprint=_fingerprint(engine),
        tokenizer={**names, "chat_template": template.source if template is not None else None},
        defaults=_defaults(engine.config.model),
    )


def _defaults(folder: Path) -> dict[str, float]:
    """Sampling as generation_config.json recommends it; `do_sample` false means greedy."""
    try:
        content = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if content.get("do_sample") is False:
        return {"temperature": 0.0}
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {name: content[name] for name in names if isinstance(content.get(name), int | float)}


def _fingerprint(engine: Engine) -> str:
    """Changes with the weights' files, the precision and our version: what decides which text a seed gives."""
    folder = engine.config.model
    config = (folder / "config.json").read_text(encoding="utf-8")
    parts = [__version__, engine.info.precision, engine.info.device, config]
    parts += [f"{file.name} {file.stat().st_size}" for file in sorted(folder.glob("*.safetensors"))]
    return "fp_" + blake2b("\n".join(parts).encode(), digest_size=5).hexdigest()
