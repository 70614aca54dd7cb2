"""Text to token ids and back, at upstreams that can: vLLM's /tokenize and /detokenize, which stand beside /v1."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from ...replica.protocol import Encoded
from ..generation import ChatPrompt, NotSupportedError, Picture, RawPrompt, UpstreamError
from .body import continued, with_pictures
from .connection import Connection
from .failure import FailedError, error_of
from .wire import detokenized_decoder, tokenized_decoder

T = TypeVar("T")

_MISSING = (404, 405, 501)
# Tokens that are spelled one by one, at one time.
_AT_ONCE = 16
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer:
    """The tokenizer of `model` at an upstream; `name` is what it is called here. Raises NotSupportedError where there
    is none, and else what the upstream refuses.
    """

    def __init__(self, connection: Connection, model: str, name: str) -> None:
        self._connection = connection
        self._model = model
        self._name = name

    async def encode(self, prompt: ChatPrompt | RawPrompt, pictures: Sequence[Picture]) -> Encoded:
        """Token ids, each token as text, and the text. How many of them are of images is not told."""
        if isinstance(prompt, ChatPrompt):
            fields: dict[str, Any] = {"messages": with_pictures(prompt.messages, pictures)}
            fields |= continued(prompt) or {"add_generation_prompt": True}
            ids, spelled = await self._tokenize(fields)
            return Encoded("", ids, spelled, await self.decode(ids))
        if isinstance(prompt.text, str):
            ids, spelled = await self._tokenize({"prompt": prompt.text, "add_special_tokens": prompt.add_bos})
            return Encoded("", ids, spelled, prompt.text)
        return Encoded("", prompt.text, await self._spell(prompt.text), await self.decode(prompt.text))

    async def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""
        fields = {"model": self._model, "tokens": token_ids}
        answer = await self._ask("/detokenize", fields, detokenized_decoder)
        text = answer.prompt if answer.prompt is not None else answer.text
        if text is None:
            raise self._no_answer()
        return text

    async def _tokenize(self, fields: dict[str, Any]) -> tuple[list[int], list[str]]:
        fields = {"model": self._model, **fields, "return_token_strs": True}
        answer = await self._ask("/tokenize", fields, tokenized_decoder)
        if answer.token_strs is None or len(answer.token_strs) != len(answer.tokens):
            return answer.tokens, await self._spell(answer.tokens)
        return answer.tokens, [_plain(token) for token in answer.token_strs]

    async def _spell(self, ids: list[int]) -> list[str]:
        """Each token as text, asked for one by one where an upstream tells only numbers."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def spell(token: int) -> str:
            async with turns:
                return await self.decode([token])

        distinct = list(dict.fromkeys(ids))
        spelled = dict(zip(distinct, await asyncio.gather(*map(spell, distinct)), strict=True))
        return [spelled[token] for token in ids]

    async def _ask(self, path: str, fields: dict[str, Any], decoder: msgspec.json.Decoder[T]) -> T:
        try:
            told, body = await self._connection.ask(self._connection.root + path, msgspec.json.encode(fields))
        except FailedError as failed:
            raise failed.error from failed
        if told is not None and told.status in _MISSING:
            raise NotSupportedError(f"the server that answers for {self._name} has no {path}")
        if told is not None:
            raise error_of(told, self._name)
        try:
            return decoder.decode(body)
        except msgspec.DecodeError:
            raise self._no_answer() from None

    def _no_answer(self) -> UpstreamError:
        return UpstreamError(f"the server that answers for {self._name} sent what is no answer about tokens")


def _plain(piece: str) -> str:
    """A tokenizer's piece as the text that it stands for: vLLM sends pieces, with marks for spaces and bytes."""
    if byte := _BYTE.fullmatch(piece):
        return bytes([int(byte[1], 16)]).decode(errors="replace")
    return piece.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", "\n")
