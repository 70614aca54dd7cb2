"""Log-probabilities in the two forms of OpenAI's endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ....replica.protocol import Logprob, Piece

# JSON has no infinities.
NEVER = -9999.0


def chat_logprobs(entries: Iterable[Logprob], as_ids: bool = False) -> list[dict[str, Any]]:
    """The `content` list of a chat choice: every token with its true bytes and the likeliest ones."""
    found = []
    for entry in entries:
        top = [
            _token(token, spelled, logprob, as_ids)
            for token, logprob, spelled in sorted(entry.top, key=lambda shown: (-shown[1], shown[0]))
        ]
        found.append({**_token(entry.token_id, entry.spelled, entry.logprob, as_ids), "top_logprobs": top})
    return found


def shown_logprobs(piece: Piece) -> list[Logprob]:
    """The entries of a piece without that of a token which only ends the text: a stop token, or an end token that is
    not in the text. What completes a stop string or a grammar is of the text.
    """
    if piece.finish_reason != "stop" or not piece.logprobs or isinstance(piece.stop_reason, str):
        return piece.logprobs
    said = piece.text.encode().endswith(piece.logprobs[-1].spelled.lstrip(b" "))
    return piece.logprobs if said and piece.stop_reason is None else piece.logprobs[:-1]


def text(spelled: bytes) -> str:
    """A token's bytes as text; what is no whole character shows as U+FFFD."""
    return spelled.decode(errors="replace")


def _token(token: int, spelled: bytes, logprob: float, as_ids: bool) -> dict[str, Any]:
    return {"token": _spelling(token, spelled, as_ids), "logprob": max(logprob, NEVER), "bytes": list(spelled)}


def prompt_logprobs(entries: Sequence[Logprob | None]) -> list[dict[str, Any] | None]:
    """vLLM's field: per token of the prompt the token and its alternatives by id; None for the first and for images."""
    listed: list[dict[str, Any] | None] = []
    for entry in entries:
        if entry is None:
            listed.append(None)
            continue
        found = {token: (logprob, rank, spelled) for rank, (token, logprob, spelled) in enumerate(entry.top, 1)}
        found[entry.token_id] = (entry.logprob, entry.rank, entry.spelled)
        listed.append({
            str(token): {"logprob": max(logprob, NEVER), "rank": rank, "decoded_token": text(spelled)}
            for token, (logprob, rank, spelled) in found.items()
        })  # fmt: skip
    return listed


class Offsets:
    """Where tokens begin in a text, in characters; the text may grow."""

    def __init__(self, text: str = "") -> None:
        self._text = text.encode()
        self._byte = 0
        self._character = 0

    def grow(self, text: str) -> None:
        self._text += text.encode()

    def waits(self, spelled: bytes) -> bool:
        """Whether the next token may still be held back, all of it or a part."""
        return len(self._text) - self._byte < len(spelled) and spelled.startswith(self._text[self._byte :])

    def place(self, spelled: bytes) -> tuple[int, bytes]:
        """Where the next token begins, and its part of the text. Specials that are not in the text have no width; the
        space that a tokenizer puts before a text is not in it either.
        """
        begin = self._character
        for said in (spelled, spelled.removeprefix(b" ")):
            if self._text.startswith(said, self._byte):
                self._byte += len(said)
                self._character += sum(byte & 0xC0 != 0x80 for byte in said)
                return begin, said
        return begin, spelled


def completion_logprobs(
    entries: Iterable[Logprob | None], prompt_tokens: Sequence[str], offsets: Offsets, as_ids: bool = False
) -> dict[str, Any]:
    """The four parallel lists of a completion choice. `prompt_tokens` spell the echoed prompt, where entries may be
    None: the first one, and images.
    """
    tokens: list[str] = []
    scores: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    places: list[int] = []
    for number, entry in enumerate(entries):
        spelled = entry.spelled if entry is not None else prompt_tokens[number].encode()
        begin, said = offsets.place(spelled)
        places.append(begin)
        tokens.append(text(said) if entry is None else _spelling(entry.token_id, said, as_ids))
        scores.append(None if entry is None else max(entry.logprob, NEVER))
        tops.append(None if entry is None else _best(entry, said, as_ids))
    return {"tokens": tokens, "token_logprobs": scores, "top_logprobs": tops, "text_offset": places}


def _best(entry: Logprob, said: bytes, as_ids: bool) -> dict[str, float]:
    """The likeliest tokens and the token itself; of two that are spelled alike the likelier counts."""
    best: dict[str, float] = {}
    for token, logprob, spelled in [*entry.top, (entry.token_id, entry.logprob, entry.spelled)]:
        name = _spelling(token, said if token == entry.token_id else spelled, as_ids)
        best[name] = max(best.get(name, NEVER), logprob)
    return best


def _spelling(token: int, spelled: bytes, as_ids: bool) -> str:
    return f"token_id:{token}" if as_ids else text(spelled)
