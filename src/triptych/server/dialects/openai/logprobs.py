"""Log-probabilities in the two forms of OpenAI's endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ....replica.protocol import Logprob, Piece

# JSON has no infinities.
NEVER = -9999.0


def chat_logprobs(entries: Iterable[Logprob]) -> list[dict[str, Any]]:
    """The `content` list of a chat choice: every token with its true bytes and the likeliest ones."""
    found = []
    for entry in entries:
        top = [_token(spelled, logprob) for _, logprob, spelled in sorted(entry.top, key=lambda t: (-t[1], t[0]))]
        found.append({**_token(entry.spelled, entry.logprob), "top_logprobs": top})
    return found


def shown_logprobs(piece: Piece) -> list[Logprob]:
    """The entries of a piece without that of the token that only ends the text."""
    ends = piece.finish_reason == "stop" and piece.logprobs and not isinstance(piece.stop_reason, str)
    return piece.logprobs[:-1] if ends else piece.logprobs


def text(spelled: bytes) -> str:
    """A token's bytes as text; what is no whole character shows as U+FFFD."""
    return spelled.decode(errors="replace")


def _token(spelled: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": text(spelled),
        "logprob": max(logprob, NEVER),
        "bytes": list(spelled),
    }


def completion_logprobs(
    entries: Sequence[Logprob | None], prompt_tokens: Sequence[str], start: int, as_ids: bool = False
) -> dict[str, Any]:
    """The four parallel lists of a completion choice. `prompt_tokens` spell the echoed prompt, whose first entry is
    None; `start` is the offset of the first token in the choice's text.
    """
    tokens: list[str] = []
    scores: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets: list[int] = []
    for number, entry in enumerate(entries):
        spelled = prompt_tokens[number] if number < len(prompt_tokens) else ""
        if entry is not None:
            spelled = _spelling(entry.token_id, entry.spelled, as_ids)
        tokens.append(spelled)
        offsets.append(start)
        start += 0 if as_ids else len(spelled)
        scores.append(None if entry is None else max(entry.logprob, NEVER))
        tops.append(None if entry is None else _best(entry, as_ids))
    return {"tokens": tokens, "token_logprobs": scores, "top_logprobs": tops, "text_offset": offsets}


def _best(entry: Logprob, as_ids: bool) -> dict[str, float]:
    """The likeliest tokens and the token itself; of two that are spelled alike the likelier counts."""
    best: dict[str, float] = {}
    for token, logprob, spelled in [*entry.top, (entry.token_id, entry.logprob, entry.spelled)]:
        name = _spelling(token, spelled, as_ids)
        best[name] = max(best.get(name, NEVER), logprob)
    return best


def _spelling(token: int, spelled: bytes, as_ids: bool) -> str:
    return f"token_id:{token}" if as_ids else text(spelled)
